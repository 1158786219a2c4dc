"""May this network be created? Gathers what `plan.create` needs to say so (D10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from bgp_ipvlan import config, model, ownership, plan, ports, surroundings, turns
from bgp_ipvlan import state as state_

_SLICE = 5_000
"""Learned prefixes compared between two looks at the clock."""


class Admission:
    """See the module.

    Args:
        settings: the configuration.
        state: the networks there are.
        links: the host's links.
        around: as last read.
        identity: this host.
    """

    def __init__(
        self,
        settings: config.Settings,
        state: state_.State,
        *,
        links: ports.Links,
        around: surroundings.Surroundings,
        identity: ownership.Identity,
    ) -> None:
        # Docker's default pools are IPv4 only.
        inside = [str(one) for one in settings.ipvlan_subnets if one.version == 4]
        self._example = inside[0] if inside else "10.1.1.0/24"
        self._state = state
        self._links = links
        self._around = around
        self._identity = identity

    async def check(
        self,
        network: model.Network,
        *,
        foreign: Mapping[model.Table, model.Foreign],
        engine: ports.Engine | None,
        default_pool_accepted: bool,
    ) -> None:
        """Say whether a network may be created.

        Args:
            network: what was asked for.
            foreign: others' routes.
            engine: what neighbours announce; None before there is one.
            default_pool_accepted: the user gave `-o accept_default_pool=true`.

        Raises:
            errors.BadRequest: the request cannot be met as it is.
            errors.Refused: something is in the way; the text names it and the remedy.
        """
        await self._around.read()
        others = [n for n in self._state.networks.values() if n.id != network.id]
        plan.create.check_pool(network, accepted=default_pool_accepted, hint=self._example)
        scan = await self._links.scan_slaves()
        plan.create.check_parent(network, self._around.links, others, scan.slaves)
        tables = self._around.tables_of(network.parent)
        plan.create.check_local(network, self._around.connected(), others, foreign, tables)
        if network.announced and engine is not None:
            for subnet in network.subnets:
                await self._check_learned(network, subnet.prefix, engine)

    async def _check_learned(
        self, network: model.Network, prefix: model.Prefix, engine: ports.Engine
    ) -> None:
        """Compare with all that was learned, also what policy keeps out of the decision."""
        family = model.Family.of(prefix)
        broader = frozenset(plan.create.covering(prefix))
        inside: dict[model.Nlri, list[model.Path]] = defaultdict(list)
        around: dict[model.Nlri, list[model.Path]] = defaultdict(list)
        for key in broader:
            around[key].extend(engine.best(family, key))
        async for keys in turns.slices(list(engine.prefixes(family)), _SLICE):
            for key in plan.create.claims(prefix, keys):
                inside[key].extend(engine.best(family, key))
        async for refusals in turns.slices(list(engine.refusals(family)), _SLICE):
            within = set(plan.create.claims(prefix, [one.prefix for one in refusals]))
            for one in refusals:
                if one.prefix in within:
                    inside[one.prefix].append(one.path)
                elif one.prefix in broader:
                    around[one.prefix].append(one.path)
        plan.create.check_learned(network, prefix, inside, around, self._identity)
