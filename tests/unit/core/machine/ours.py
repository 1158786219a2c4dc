"""What neighbours, links, networks and containers do to the host of the machine."""

from __future__ import annotations

import dataclasses
import ipaddress

from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import errors, model, ownership, plan
from tests.unit.core import conftest as c
from tests.unit.core.machine import base


class Ours(base.Base):
    """See the module."""

    # --- neighbours ----------------------------------------------------------------------------

    @stateful.rule(some=base.prefixes, paths=base.paths)
    def announced(self, some: list[model.Prefix], paths: tuple[model.Path, ...]) -> None:
        """A neighbour announces, or its best paths change."""
        self._learn(some, paths)

    @stateful.rule(some=base.prefixes)
    def withdrawn(self, some: list[model.Prefix]) -> None:
        """And withdraws."""
        self._learn(some, ())

    @stateful.rule(gateway=st.sampled_from(base.HOPS))
    def session_lost(self, gateway: model.Address) -> None:
        """All that one neighbour announced goes, path by path."""
        groups: dict[tuple[model.Family, tuple[model.Path, ...]], list[model.Nlri]] = {}
        for family, learned in self.world.engine.learned.items():
            for key, paths in learned.items():
                left = tuple(path for path in paths if path.next_hop != gateway)
                if left != paths:
                    groups.setdefault((family, left), []).append(key)

        async def main() -> None:
            for (family, left), some in groups.items():
                self.world.engine.learn(family, some, *left)

        self.run(main())

    # --- links ----------------------------------------------------------------------------------

    @stateful.rule(name=base.uplinks, flap=st.booleans())
    def link_down(self, name: str, flap: bool) -> None:
        """A link goes down, and perhaps up again at once."""
        self.run(self._link_down(name, flap))

    async def _link_down(self, name: str, flap: bool) -> None:
        link = self.world.links.links.get(name)
        if link is not None and link.up:
            self.routes.kernel.link_down(link.index)
            self._foreign_went()
            self.world.links.change(name, up=False, running=False)
            if flap:
                self._link_up(name)

    @stateful.rule(name=base.uplinks)
    def link_up(self, name: str) -> None:
        """It comes up, with all its addresses."""

        async def main() -> None:
            self._link_up(name)

        self.run(main())

    def _link_up(self, name: str) -> None:
        link = self.world.links.links.get(name)
        if link is None:
            self.count += 1
            new = {"eth1": c.ETH1, "eth2": base.ETH2}[name]
            self.world.links.add(dataclasses.replace(new, index=1000 + self.count))
            return
        self.routes.kernel.down.discard(link.index)
        self.world.links.change(name, up=True, running=True, addresses=base.ADDRESSES[name])

    @stateful.rule(name=base.uplinks, running=st.booleans())
    def carrier(self, name: str, running: bool) -> None:
        """The cable: the kernel keeps routes and objects."""

        async def main() -> None:
            link = self.world.links.links.get(name)
            if link is not None and link.up:
                self.world.links.change(name, running=running)

        self.run(main())

    @stateful.rule(name=base.uplinks, version=st.sampled_from([0, 4, 6]))
    def addresses(self, name: str, version: int) -> None:
        """Addresses of one family go, or all but those of the other come back."""

        async def main() -> None:
            if name in self.world.links.links:
                left = tuple(a for a in base.ADDRESSES[name] if a.version != version)
                self.world.links.change(name, addresses=left)

        self.run(main())

    @stateful.rule(name=base.uplinks)
    def link_gone(self, name: str) -> None:
        """A link is removed, with our slaves on it."""

        async def main() -> None:
            links = self.world.links
            link = links.links.get(name)
            if link is not None:
                for one in (link, *links.links.values()):
                    if link.index in {one.index, one.parent_index}:
                        self.routes.kernel.link_down(one.index)
                self._foreign_went()
                links.remove(name)

        self.run(main())

    # --- networks and containers ---------------------------------------------------------------

    @stateful.rule(
        parent=base.uplinks,
        advertise=st.sampled_from(model.Advertise),
        internal=st.sampled_from([False, False, False, True]),
        host_access=st.booleans(),
    )
    def network(
        self, parent: str, advertise: model.Advertise, internal: bool, host_access: bool
    ) -> None:
        """A network is made; one that conflicts with what is learned counts as made before it."""
        id_, subnet, _ = base.NETWORKS[parent]

        async def main() -> None:
            if id_ in self.world.state.networks:
                return
            network = c.net(
                id_,
                subnet,
                parent=parent,
                advertise=advertise,
                internal=internal,
                host_access=host_access,
            )
            await self._create(network)

        self.run(main())

    async def _create(self, network: model.Network) -> None:
        await self.world.state.put_network(network)
        if network.shim:
            try:
                await self.world.links.ensure_slave(plan.own.shim(network))
            except errors.KernelError:
                pass  # the parent is away: made when it is back
        self.world.core.network_changed(network.id)

    @stateful.rule(parent=base.uplinks)
    def network_gone(self, parent: str) -> None:
        """It is removed, with its containers."""
        id_ = base.NETWORKS[parent][0]

        async def main() -> None:
            if id_ in self.world.state.networks:
                for endpoint in self.world.state.endpoints_of(id_):
                    await self._leave(endpoint)
                await self.world.remove(id_)

        self.run(main())

    @stateful.rule(where=base.ENDS)
    def join(self, where: tuple[str, str]) -> None:
        """A container starts."""
        parent, address = where
        id_ = base.NETWORKS[parent][0]

        async def main() -> None:
            network = self.world.state.networks.get(id_)
            if network is not None and parent in self.world.links.links:
                self.world.links.forget("ensure_slave")  # shims have it
                end = c.end(address, _end_id(address), id_)
                await self._leave(end)
                await self.world.join(end, network)

        self.run(main())

    @stateful.rule(where=base.ENDS)
    def leave(self, where: tuple[str, str]) -> None:
        """It ends."""

        async def main() -> None:
            endpoint = self.world.state.endpoints.get(_end_id(where[1]))
            if endpoint is not None:
                await self._leave(endpoint)

        self.run(main())

    async def _leave(self, endpoint: model.Endpoint) -> None:
        self.world.links.away.pop(ownership.link_name(endpoint.id), None)
        await self.world.state.remove_endpoint(endpoint.id)
        self.world.core.network_changed(endpoint.network_id)


def _end_id(address: str) -> str:
    return f"{int(ipaddress.ip_interface(address).ip):064x}"
