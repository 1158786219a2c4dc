"""Knows the tables with routes of ours that no rule leads to: nobody is sent by those.

`ip rule` is the administrator's. What is missing there is told, and nothing is changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from bgp_ipvlan import errors, forwarding, model, ports, surroundings

log = logging.getLogger("bgp_ipvlan")


class Watch:
    """See the module.

    Args:
        routes: where rules are read.
        around: the host's links, some in VRFs.
        forwarding: our routes.
    """

    def __init__(
        self,
        routes: ports.Routes,
        around: surroundings.Surroundings,
        forwarding: forwarding.Forwarding,
    ) -> None:
        self._routes = routes
        self._around = around
        self._forwarding = forwarding
        self._due = asyncio.Event()
        self._due.set()
        self._known: Mapping[model.Family, model.Rules] = {}
        self._told: frozenset[model.Table] = frozenset()

    @property
    def missed(self) -> list[model.Table]:
        """Tables with routes of ours that no rule leads to, as rules were when last read."""
        vrfs = {link.table for link in self._around.links.values() if link.vrf}
        return [
            table
            for table, book in self._forwarding.books.items()
            if (known := self._known.get(table[0])) is not None
            and not known.lead_to(table[1], vrf=table[1] in vrfs)
            and book.wanted
        ]

    def look(self) -> None:
        """Something may have changed: look soon. Several calls become one look."""
        self._due.set()

    async def run(self) -> None:
        """Look whenever told to, for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                self._known = await self._routes.rules()
            except errors.KernelError as error:
                log.warning("rules not read reason=%s error=%s", error.reason, error)
                continue
            self._tell()

    def _tell(self) -> None:
        now = frozenset(self.missed)
        for table in now - self._told:
            log.warning("no rule leads to our routes reason=no-rule: %s", remedy(table))
        for family, number in self._told - now:
            log.info("no rule is missed any more family=%s table=%d", family.name.lower(), number)
        self._told = now


def remedy(table: model.Table) -> str:
    """What to do about a table that no rule leads to."""
    family, number = table
    ip = "ip -6" if family is model.Family.IPV6 else "ip"
    return (
        f"routes in table {number} are not used: `{ip} rule add priority 1000 lookup {number}`, "
        f"or for a VRF's table `{ip} rule add priority 1000 l3mdev`"
    )
