"""What is around us: the host's links, and what follows from them for learned routes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bgp_ipvlan import config, model, ownership, plan, ports
from bgp_ipvlan import state as state_


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """What the links mean for learned routes."""

    connected: frozenset[model.Prefix] = frozenset()
    networks: tuple[tuple[model.Prefix, int], ...] = ()
    addresses: frozenset[model.Address] = frozenset()
    tables: tuple[tuple[int, int], ...] = ()
    exits: frozenset[tuple[int, int]] = frozenset()
    parents: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """What has changed of it."""

    lost: bool
    """A connected network has gone: so have IPv4 routes, without a word (kernel sheet, section 3)."""
    guarded: frozenset[model.Prefix]
    """What is learned inside these has to be decided anew."""
    moved: bool
    """A link came into or out of a VRF: in its new table are other people's routes."""


class Surroundings:
    """The links as last read, with the guards and next hops that follow (D10).

    Args:
        settings: the configuration.
        state: our networks.
        port: where links are read.
        foreign: others' routes, as they are at any time.
    """

    def __init__(
        self,
        settings: config.Settings,
        state: state_.State,
        port: ports.Links,
        *,
        foreign: Mapping[model.Table, model.Foreign],
    ) -> None:
        self._settings = settings
        self._state = state
        self._port = port
        self._foreign = foreign
        self.links: dict[str, model.Link] = {}
        self._seen: list[tuple[object, ...]] = []
        self._meant = Meaning()
        self.guards = plan.learned.Guards()
        self.next_hops = plan.learned.NextHops(())

    @property
    def names(self) -> dict[int, str]:
        """Interface names by index."""
        return {link.index: link.name for link in self.links.values()}

    @property
    def table(self) -> int:
        """The routing table for links outside any VRF."""
        return self._settings.table

    def table_of(self, name: str) -> int:
        """The routing table that packets to a link are looked up in."""
        link = self.links.get(name)
        return link.table or self.table if link else self.table

    @property
    def tables(self) -> frozenset[int]:
        """Those that our routes may have to be in, or others' be in our way."""
        return frozenset((self.table, *self.next_hops.tables.values())) | self._learning

    def tables_of(self, name: str) -> frozenset[int]:
        """Where others' routes are in the way of a network on that link."""
        return self._learning | {self.table_of(name)}

    @property
    def _learning(self) -> frozenset[int]:
        """Where a routing daemon of this host puts what it learns, whatever our table is."""
        return frozenset({model.MAIN} if self._settings.engine is model.EngineKind.KERNEL else ())

    def connected(self) -> set[model.Prefix]:
        """Subnets on the host's wires."""
        ours = [name for name, link in self.links.items() if ownership.link_is_ours(link)]
        return plan.learned.connected(self.links.values(), ours)

    async def read(self) -> None:
        """Read the links again."""
        self.links = {link.name: link for link in await self._port.read()}

    def news(self) -> bool:
        """Whether something that matters to routes changed since this was last asked.

        Not since the last reading: the front door reads too, and would use the news up.
        """
        relevant = self._relevant()
        changed, self._seen = relevant != self._seen, relevant
        return changed

    def recompute(self) -> None:
        """Work out guards and next hops from links and networks."""
        networks = self._state.networks.values()
        self.guards = plan.learned.Guards(
            connected=self.connected(),
            own=[prefix for network in networks for prefix in plan.own.closed(network)],
            accept=self._settings.accept,
        )
        self.next_hops = plan.learned.NextHops(
            self.links.values(),
            self._parents(),
            table=self.table,
            foreign=self._foreign,
            asked=self.next_hops.recursive,
        )

    def _parents(self) -> frozenset[str]:
        """Those of our networks, and of networks to come."""
        parents = {network.parent for network in self._state.networks.values()}
        return frozenset(filter(None, (*parents, self._settings.host_interface)))

    def has_other_parents(self) -> bool:
        """Whether networks have come or gone so that `routing_news` may be some."""
        return self._parents() != self._meant.parents

    def routing_news(self) -> News | None:
        """What changed of what the links mean for learned routes, since this was last asked."""
        now = Meaning(
            self.guards.connected,
            self.next_hops.networks,
            self.next_hops.addresses,
            tuple(self.next_hops.tables.items()),
            frozenset(self.next_hops.exits.items()),
            self._parents(),
        )
        before, self._meant = self._meant, now
        if now == before:
            return None
        return News(
            lost=not set(before.networks) <= set(now.networks),
            guarded=before.connected ^ now.connected,
            moved=any(dict(before.tables).get(i, table) != table for i, table in now.tables),
        )

    def usable(self, path: model.Path) -> bool:
        """Whether a path's next hop can be reached, as links and others' routes are now."""
        return self.next_hops.reaches(path)

    def _relevant(self) -> list[tuple[object, ...]]:
        """Containers' slaves come and go without an effect."""
        return [
            (link.name, link.index, link.up, link.running, link.addresses, link.table)
            for link in self.links.values()
            if link.addresses or not ownership.link_is_ours(link)
        ]
