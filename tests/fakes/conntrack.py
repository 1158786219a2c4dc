"""The kernel's connection tracking without a kernel."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bgp_ipvlan import model
from tests.fakes import routes


class FakeConntrack:
    """Implements `ports.Conntrack`: writes down what is asked for, and the routes there are then.

    Args:
        table: the kernel's routes.
    """

    def __init__(self, table: routes.FakeRoutes) -> None:
        self._routes = table
        self.asked: list[set[model.Address]] = []
        self.routes: list[Mapping[model.Prefix, routes.Shown]] = []

    async def forget(self, addresses: Collection[model.Address]) -> None:
        """Write down."""
        self.asked.append(set(addresses))
        self.routes.append(self._routes.table())
