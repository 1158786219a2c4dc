"""The life of a network and of an endpoint, in the order in which Docker calls.

Every handler may be repeated, come late or for something unknown, and Docker forgets the
object whatever we answer to a delete (Docker driver protocol sheet, section 2.8). So: make
stops at the first error and leaves nothing behind; take-down never stops. The state is on
disk before the world is changed, and before the answer. Docker's API is never called here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from bgp_ipvlan import errors, model, ownership, plan, ports
from bgp_ipvlan import state as state_
from bgp_ipvlan.docker import options, wire

log = logging.getLogger("bgp_ipvlan")


class Core(Protocol):
    """What the front door needs of the rest."""

    async def check_create(self, network: model.Network, *, default_pool_accepted: bool) -> None:
        """Raise `errors.Refused` or `errors.BadRequest` if the network cannot be (D10)."""

    def network_changed(self, network_id: str) -> None:
        """Bring announcements and routes of a network in line with the state."""

    async def endpoints_gone(self, endpoints: Iterable[model.Endpoint]) -> None:
        """Endpoints and their links are gone: their addresses have to start clean next time.

        Never fails, and returns within seconds.
        """

    async def start_gate(self, network: model.Network, endpoint: model.Endpoint) -> None:
        """Return when the neighbours know of an endpoint; raise `errors.Refused` if they must."""


class Driver:
    """NetworkDriver, as Docker calls it.

    Args:
        state: networks and endpoints.
        links: the host's links.
        core: checks, announcements and routes.
        defaults: the daemon's flags.
    """

    def __init__(
        self,
        state: state_.State,
        links: ports.Links,
        core: Core,
        *,
        defaults: options.Defaults,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._links = links
        self._core = core
        self._defaults = defaults
        self._clock = clock
        # One network at a time: a repeated call may come while the first still runs.
        # Creates are one at a time altogether, or two could pass the same check.
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._creating = asyncio.Lock()

    def _lock(self, network_id: str) -> asyncio.Lock:
        """The lock of one network; it lives as long as somebody holds or awaits it."""
        return self._locks.setdefault(network_id, asyncio.Lock())

    # --- networks -----------------------------------------------------------------

    async def gw_alloc_check(self, request: wire.GwAllocCheck) -> wire.Json:
        """Whether Docker need not set a gateway address aside (Docker 28 and later).

        It must where host access is on: with Skip the first container got the shim's
        address (sheet, section 10.6).
        """
        fields, _ = options.parse(wire.generic(request.options), self._defaults)
        skip = wire.internal(request.options) or not fields["host_access"]
        return {"SkipIPv4": skip, "SkipIPv6": skip}

    async def create_network(self, request: wire.CreateNetwork) -> wire.Json:
        """Check, remember, make the host's own link, announce."""
        network, pool_accepted = self._network(request)
        async with self._creating, self._lock(network.id):
            have = self._state.networks.get(network.id)
            if have is not None and have != network:
                raise errors.Refused(
                    "network-exists",
                    f"network {network.short} exists with another configuration: remove it first",
                )
            if have is None:
                self._check_subnets(network)
                await self._core.check_create(network, default_pool_accepted=pool_accepted)
                if not await self._links.ipvlan_available():
                    raise errors.Refused(
                        "no-ipvlan",
                        "this host's kernel cannot make ipvlan links: load the module with "
                        "`modprobe ipvlan`, or boot a kernel that has it",
                    )
            try:
                if have is None:
                    await self._state.put_network(network)
                await self._ensure_shim(network)
            except BaseException:
                if have is None:
                    await asyncio.shield(self._remove(network.id))
                raise
            self._core.network_changed(network.id)
        return {}

    def _network(self, request: wire.CreateNetwork) -> tuple[model.Network, bool]:
        fields, pool_accepted = options.parse(wire.generic(request.options), self._defaults)
        subnets = tuple(map(self._with_gateway, wire.subnets(request)))
        network = model.Network(
            id=request.network_id,
            subnets=subnets,
            internal=wire.internal(request.options),
            **fields,
        )
        return network, pool_accepted

    def _with_gateway(self, subnet: model.Subnet) -> model.Subnet:
        """Fill `--gateway` in where the create brings none."""
        gateway = self._defaults.gateway
        if subnet.gateway is None and gateway is not None and gateway in subnet.prefix:
            return model.Subnet(subnet.prefix, gateway)
        return subnet

    def _check_subnets(self, network: model.Network) -> None:
        for address in network.bgp.next_hops:
            if any(address in subnet.prefix for subnet in network.subnets):
                raise errors.BadRequest(
                    "bad-option",
                    f"-o bgp.next_hop={address} is inside the network itself: give an address "
                    f"by which others reach this host",
                )
        for subnet in network.subnets:
            within = self._defaults.ipvlan_subnet(subnet.prefix.version)
            if within is not None and not subnet.prefix.subnet_of(within):  # type: ignore[arg-type]
                raise errors.Refused(
                    "outside-ipvlan-subnet",
                    f"subnet {subnet.prefix} is outside --ipvlan-subnet {within} of this host: "
                    f"give one inside it, for example --subnet {within}, or none and "
                    f"--ipam-driver bgp-ipvlan, which takes it from there",
                )

    async def _ensure_shim(self, network: model.Network) -> None:
        if network.shim:
            await self._links.ensure_slave(plan.own.shim(network))

    async def delete_network(self, request: wire.NetworkRef) -> wire.Json:
        """Withdraw, forget, remove the host's own link. Unknown networks are done already."""
        async with self._lock(request.network_id):
            await self._remove(request.network_id)
        return {}

    async def _remove(self, network_id: str) -> None:
        # The state goes first. Crashing after it leaves links, which the next start finds by
        # their alias; crashing before it leaves the network, which Docker's repeat removes.
        endpoints = self._state.endpoints_of(network_id)
        await self._state.remove_network(network_id)
        self._core.network_changed(network_id)
        for owner in (*(endpoint.id for endpoint in endpoints), network_id):
            await self._delete_link(ownership.link_name(owner))
        await self._core.endpoints_gone(endpoints)

    async def forget(self, beginning: str) -> str:
        """Remove a network that Docker no longer knows, as its DeleteNetwork would.

        Args:
            beginning: its id, or enough of it.

        Returns:
            The id.

        Raises:
            errors.Refused: `unknown-network`, `ambiguous-network`, `endpoints-joined`.
        """
        found = [id_ for id_ in self._state.networks if beginning and id_.startswith(beginning)]
        if len(found) != 1:
            raise errors.Refused(
                "ambiguous-network" if found else "unknown-network",
                f"{len(found) or 'no'} networks begin with {beginning!r}: see bgp-ipvlan networks",
            )
        if any(endpoint.joined for endpoint in self._state.endpoints_of(found[0])):
            raise errors.Refused(
                "endpoints-joined",
                f"network {found[0][:12]} has containers attached: docker network rm it, or stop "
                f"them first",
            )
        await self.delete_network(wire.NetworkRef(network_id=found[0]))
        return found[0]

    # --- endpoints ----------------------------------------------------------------

    async def create_endpoint(self, request: wire.CreateEndpoint) -> wire.Json:
        """Check and remember; the link is made at Join."""
        network = self._known(request.network_id)
        endpoint = model.Endpoint(
            id=request.endpoint_id,
            network_id=network.id,
            addresses=wire.addresses(request),
            ports=wire.published(request.options),
            driver_options=wire.driver_options(request.options),
        )
        async with self._lock(network.id):
            have = self._state.endpoints.get(endpoint.id)
            if have is not None:
                if dataclasses.replace(have, joined=False, left=0.0) != endpoint:
                    raise errors.Refused(
                        "endpoint-exists", f"endpoint {endpoint.short} exists with other addresses"
                    )
                return {}
            await self._make_room(self._check_addresses(network, endpoint))
            await self._state.put_endpoint(endpoint)
        self._warn_of_ports(endpoint)
        return {}

    def _known(self, network_id: str) -> model.Network:
        network = self._state.networks.get(network_id)
        if network is None:
            raise errors.Refused(
                "unknown-network",
                f"network {network_id[:12]} is not known to bgp-ipvlan (its state was lost?): "
                f"docker network rm it and create it again",
            )
        return network

    def _check_addresses(
        self, network: model.Network, endpoint: model.Endpoint
    ) -> list[model.Endpoint]:
        """Refuse what cannot be; return endpoints of the network that have the addresses now."""
        others = []
        # A slave's address must be unique on its parent, whichever network it is of.
        taken = {
            address.ip: other
            for other in self._state.endpoints.values()
            for address in other.addresses
        }
        for address in endpoint.addresses:
            subnet = next((s for s in network.subnets if address.ip in s.prefix), None)
            if subnet is None:
                raise errors.BadRequest(
                    "bad-address",
                    f"address {address.ip} is in no subnet of network {network.short}",
                )
            if network.shim and address.ip == subnet.gateway:
                raise errors.Refused(
                    "address-reserved",
                    f"address {address.ip} is the network's gateway, which is the host itself: "
                    f"choose another",
                )
            other = taken.get(address.ip)
            if other is None:
                continue
            if other.network_id != network.id:
                raise _in_use(other)
            others.append(other)
        return others

    async def _make_room(self, others: list[model.Endpoint]) -> None:
        """Forget endpoints whose address Docker gives anew, unless one is seen to live.

        Docker drops an endpoint without DeleteEndpoint when a create or the whole daemon
        failed (sheet, sections 2.3 and 2.6), and its IPAM knows what is free.
        """
        if not others:
            return
        scan = await self._links.scan_slaves()
        alive = {ownership.alias_identity(slave.alias) for slave in scan.slaves}
        for other in others:
            if other.joined and (other.id in alive or not scan.complete):
                raise _in_use(other)
        for other in others:
            log.warning(
                "endpoint forgotten endpoint=%s network=%s reason=address-reused",
                other.short,
                other.network_id[:12],
            )
            await self._forget_endpoint(other)

    def _warn_of_ports(self, endpoint: model.Endpoint) -> None:
        published = [port for port in endpoint.ports if port.host_port]
        if published:
            log.warning(
                "published ports have no effect endpoint=%s address=%s ports=%s "
                "reason=ports-ignored (the container's own address is reachable)",
                endpoint.short,
                endpoint.addresses[0].ip,
                ",".join(f"{port.host_port}:{port.port}" for port in published),
            )

    async def join(self, request: wire.EndpointRef) -> wire.Json:
        """Make the link that Docker moves into the container.

        The namespace is not looked at: up to Docker 27 it does not exist yet.
        """
        network = self._known(request.network_id)
        async with self._lock(network.id):
            endpoint = self._state.endpoints.get(request.endpoint_id)
            if endpoint is None or endpoint.network_id != network.id:
                raise errors.Refused(
                    "unknown-endpoint",
                    f"endpoint {request.endpoint_id[:12]} is not known to bgp-ipvlan (its state "
                    f"was lost?): start the container again",
                )
            # The parent may have been made anew since the create, without our shim.
            await self._ensure_shim(network)
            spec = plan.own.slave(network, endpoint)
            try:
                await self._state.put_endpoint(dataclasses.replace(endpoint, joined=True))
                await self._links.ensure_slave(spec)
                self._core.network_changed(network.id)
            except BaseException:
                await asyncio.shield(self._unjoin(endpoint))
                raise
        # Without the lock: others' starts and stops need not wait for our neighbours.
        try:
            await self._core.start_gate(network, endpoint)
        except BaseException:
            await asyncio.shield(self._undo_join(endpoint))
            raise
        log.info(
            "endpoint joined endpoint=%s network=%s addresses=%s link=%s",
            endpoint.short,
            network.short,
            ",".join(str(address.ip) for address in endpoint.addresses),
            spec.name,
        )
        return wire.join_answer(network, endpoint, spec.name)

    async def _undo_join(self, endpoint: model.Endpoint) -> None:
        async with self._lock(endpoint.network_id):
            if endpoint.id in self._state.endpoints:
                await self._unjoin(endpoint)

    async def _unjoin(self, endpoint: model.Endpoint) -> None:
        await self._put_unjoined(endpoint)
        await self._delete_link(ownership.link_name(endpoint.id))

    async def _put_unjoined(self, endpoint: model.Endpoint) -> None:
        left = dataclasses.replace(endpoint, joined=False, left=self._clock())
        await self._state.put_endpoint(left)
        self._core.network_changed(endpoint.network_id)

    async def leave(self, request: wire.EndpointRef) -> wire.Json:
        """Take the host's route back; Docker moves the link home after this answer."""
        async with self._lock(request.network_id):
            endpoint = self._state.endpoints.get(request.endpoint_id)
            if endpoint is not None and endpoint.joined:
                await self._put_unjoined(endpoint)
                log.info("endpoint left endpoint=%s", endpoint.short)
        return {}

    async def delete_endpoint(self, request: wire.EndpointRef) -> wire.Json:
        """Forget it and remove its link, wherever in its life it is."""
        async with self._lock(request.network_id):
            endpoint = self._state.endpoints.get(request.endpoint_id)
            if endpoint is not None:
                await self._forget_endpoint(endpoint)
            else:
                await self._delete_link(ownership.link_name(request.endpoint_id))
        return {}

    async def _forget_endpoint(self, endpoint: model.Endpoint) -> None:
        await self._state.remove_endpoint(endpoint.id)
        if endpoint.joined:
            self._core.network_changed(endpoint.network_id)
        await self._delete_link(ownership.link_name(endpoint.id))
        # Not at Leave already: until its link is gone a container may go on sending.
        await self._core.endpoints_gone([endpoint])

    async def _delete_link(self, name: str) -> None:
        """Remove a link of ours; a failure is the audit's to repair, not Docker's."""
        try:
            await self._links.delete(name)
        except errors.KernelError as error:
            log.warning("link not removed link=%s reason=%s error=%s", name, error.reason, error)


def _in_use(other: model.Endpoint) -> errors.Refused:
    addresses = ", ".join(str(address.ip) for address in other.addresses)
    return errors.Refused(
        "address-in-use",
        f"address {addresses} belongs to endpoint {other.short}: choose another",
    )
