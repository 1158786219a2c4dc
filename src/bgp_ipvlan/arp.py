"""Keeps the kernel's ARP filter as it has to be, and knows parents without a default route.

Both are about packets of containers that find no route, which the kernel takes for on-link
(`kernel.arp`): inside our own prefixes the filter drops the question; for the rest of the world
a person is told.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator

from bgp_ipvlan import errors, forwarding, model, origin, plan, ports, surroundings, turns
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

REMEDY = (
    "a container's packet for which there is no route makes this host ask for its destination on "
    "the parent's LAN by ARP, and whoever answers gets it: `ip route add default via ROUTER dev "
    "PARENT`, or let a neighbor announce one (--accept 0.0.0.0/0)"
)
"""What to do about a parent without a default route, and why."""
_V4 = model.Family.IPV4
_SLICE = 5_000
"""Routes of others looked at between two looks at the clock."""


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """What is dropped: ARP about these addresses on these interfaces."""

    interfaces: tuple[str, ...] = ()
    ranges: tuple[plan.arp.Range, ...] = ()


class Keeper:
    """See the module.

    Args:
        port: the kernel's filter.
        state: our networks.
        around: the host's links.
        origin: prefixes whose routes are ours.
        forwarding: others' routes, and the learned ones.
    """

    def __init__(
        self,
        port: ports.ArpFilter,
        state: state_.State,
        around: surroundings.Surroundings,
        *,
        origin: origin.Origin,
        forwarding: forwarding.Forwarding,
    ) -> None:
        self._port = port
        self._state = state
        self._around = around
        self._origin = origin
        self._forwarding = forwarding
        self._due = asyncio.Event()
        # An earlier run may have left one that nobody needs.
        self._due.set()
        self._known: Filter | None = None
        """What the kernel has, if we know."""
        self.repaired = 0
        """How often somebody else had changed it."""
        self.trouble: errors.KernelError | None = None
        """Why there is none."""
        self.without_default: frozenset[str] = frozenset()
        """Parents whose containers have no IPv4 default route."""

    @property
    def kept(self) -> Filter:
        """What the kernel has, as far as we know."""
        return self._known or Filter()

    def look(self) -> None:
        """Something may have changed: look soon. Several calls become one look."""
        self._due.set()

    async def run(self) -> None:
        """Look whenever told to, for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            self._check_default()
            await self._keep(await self._wanted())

    # --- the filter ---------------------------------------------------------------

    async def _wanted(self) -> Filter:
        parents = sorted({network.parent for network in self._state.networks.values()})
        tables = {self._around.table_of(parent) for parent in parents}
        on_link = [key for table in tables for key in await self._on_link(table)]
        return Filter(tuple(parents), plan.arp.nobody(self._origin.keys[_V4], on_link))

    async def _on_link(self, table: int) -> list[model.Nlri]:
        """Other people's routes to a wire."""
        routes = self._forwarding.foreign.get((_V4, table), {})
        found: list[model.Nlri] = []
        async for keys in turns.slices(list(routes), _SLICE):
            found += [
                key for key in keys if any(route.on_link for route in routes.get(key, {}).values())
            ]
        return found

    async def _keep(self, wanted: Filter) -> None:
        try:
            made = await self._port.ensure(wanted.interfaces, wanted.ranges)
        except errors.KernelError as error:
            if self.trouble is None or self.trouble.reason != error.reason:
                log.warning("arp filter not made reason=%s error=%s", error.reason, error)
            self.trouble, self._known = error, None
            return
        if made and wanted == self._known:
            self.repaired += 1
            log.warning("arp filter repaired reason=changed-by-others")
        elif made:
            log.debug("arp filter made interfaces=%s", ",".join(wanted.interfaces) or "-")
        self.trouble, self._known = None, wanted

    # --- default routes --------------------------------------------------------------

    def _check_default(self) -> None:
        without = frozenset(self._parents_without_default())
        for parent in without - self.without_default:
            log.warning("no default route parent=%s reason=no-default-route: %s", parent, REMEDY)
        for parent in self.without_default - without:
            log.info("no default route is missed any more parent=%s", parent)
        self.without_default = without

    def _parents_without_default(self) -> Iterator[str]:
        for name in {
            network.parent
            for network in self._state.networks.values()
            if not network.internal and any(s.prefix.version == 4 for s in network.subnets)
        }:
            parent = self._around.links.get(name)
            # While it is down nothing is asked for there, and its routes are gone with it.
            # In a VRF the kernel drops what has no route. And with a table of our own chosen
            # by rules that are not ours, we do not know which table has the default route.
            main = self._around.table_of(name) == model.MAIN
            if parent is not None and parent.up and main and not self._has_default(parent):
                yield name

    def _has_default(self, parent: model.Link) -> bool:
        table = _V4, model.MAIN
        others = self._forwarding.foreign.get(table, {}).get(plan.arp.DEFAULT, {})
        book = self._forwarding.books.get(table)
        ours = book.wanted.get(plan.arp.DEFAULT) if book else None
        learned = self._forwarding.next_hops(ours) if isinstance(ours, model.Via) else ()
        return plan.arp.has_default(parent, others.values(), learned)
