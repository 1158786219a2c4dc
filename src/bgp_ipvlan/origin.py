"""What follows from our own networks, kept in step with the state.

A network or an endpoint comes or goes: announcements, the routes beneath them and the
claims on prefixes follow at once, in an order in which no packet goes astray.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from bgp_ipvlan import forwarding, model, ownership, plan, ports, surroundings
from bgp_ipvlan import state as state_
from bgp_ipvlan.plan.claims import Claim, Key

log = logging.getLogger("bgp_ipvlan")

LINGER = 5.0
"""Seconds that the address of a container that left stays a blackhole: longer than a router
takes to digest the withdrawal. Without it a packet that is still sent here would follow our
default route back to that router, and so on."""

DecideAgain = Callable[[model.Family, Iterable[model.Nlri]], None]


class Origin:
    """See the module.

    Args:
        state: networks and endpoints.
        around: the host's links.
        forwarding: where routes are wanted.
        identity: this host, for the marks on announcements.
        decide: what was learned for some prefixes has to be looked at anew.
    """

    def __init__(
        self,
        state: state_.State,
        around: surroundings.Surroundings,
        forwarding: forwarding.Forwarding,
        identity: ownership.Identity,
        *,
        decide: DecideAgain,
    ) -> None:
        self._state = state
        self._around = around
        self._identity = identity
        self._forwarding = forwarding
        self._decide = decide
        self._engine: ports.Engine | None = None
        self.own: dict[str, plan.own.Own] = {}
        """By network id."""
        self._claims: dict[model.Family, dict[model.Nlri, Claim]] = {f: {} for f in model.Family}
        self.ours = plan.claims.Ours(identity, self._claims)
        self.keys: dict[model.Family, set[model.Nlri]] = {f: set() for f in model.Family}
        """Prefixes whose routes are ours, whatever neighbours announce or withdraw."""
        self._left: dict[model.Family, dict[model.Nlri, asyncio.TimerHandle]]
        self._left = {family: {} for family in model.Family}

    def attach(self, engine: ports.Engine) -> None:
        """Give it the engine, which gets everything we announce."""
        self._engine = engine
        engine.announce(one for own in self.own.values() for one in own.announcements.values())

    def changed(self, network_id: str) -> set[model.Prefix]:
        """A network or its endpoints changed, came or went.

        Returns:
            The prefixes inside which learned ones have to be decided anew.
        """
        network = self._state.networks.get(network_id)
        old = self.own.pop(network_id, plan.own.NOTHING)
        new = plan.own.NOTHING
        if network is not None:
            endpoints = self._state.endpoints_of(network_id)
            new = plan.own.of(
                network, endpoints, self._around.links, self._identity, table=self._around.table
            )
            self.own[network_id] = new
        if old.closed != new.closed:
            self._around.recompute()
        # Withdraw before the route goes, announce after it stands: traffic that the world
        # still sends, or sends already, meets the blackhole and never our default route.
        self._withdraw(network_id, old, new)
        self._claim(old, new)
        self._route(old, new)
        self._announce(network_id, old, new)
        _tell_notes(network_id, old, new)
        for family, key in _differing(old.claims, new.claims):
            self._decide(family, [key])
        return set(old.closed) ^ set(new.closed)

    def replaced(self, family: model.Family, prefixes: list[model.Nlri]) -> None:
        """Some prefixes get a learned route: a container that left is now somewhere else."""
        left = self._left[family]
        if left and not left.keys().isdisjoint(prefixes):
            for key in left.keys() & set(prefixes):
                self._forget(family, key)

    # --- inside -------------------------------------------------------------------

    def _announce(self, network_id: str, old: plan.own.Own, new: plan.own.Own) -> None:
        changed = [a for p, a in new.announcements.items() if old.announcements.get(p) != a]
        for one in changed:
            log.info(
                "%s announced network=%s prefix=%s next_hop=%s",
                _what(new, one.prefix),
                network_id[:12],
                one.prefix,
                one.fixed_next_hop or one.next_hop,
            )
        if self._engine is not None and changed:
            self._engine.announce(changed)

    def _withdraw(self, network_id: str, old: plan.own.Own, new: plan.own.Own) -> None:
        gone = [prefix for prefix in old.announcements if prefix not in new.announcements]
        for prefix in gone:
            log.info(
                "%s withdrawn network=%s prefix=%s", _what(old, prefix), network_id[:12], prefix
            )
        if self._engine is not None and gone:
            self._engine.withdraw(gone)

    def _claim(self, old: plan.own.Own, new: plan.own.Own) -> None:
        """Bring claims along; addresses that were announced linger."""
        for family, key in old.claims.keys() - new.claims.keys():
            del self._claims[family][key]
            host = old.claims[family, key] is Claim.HOST
            if host and model.prefix(family, key) in old.announcements:
                self._linger(family, key, old.table)
        for (family, key), claim in new.claims.items():
            self._forget(family, key)
            self._claims[family][key] = claim

    def _route(self, old: plan.own.Own, new: plan.own.Own) -> None:
        wanted: dict[tuple[model.Family, model.RouteValue], list[model.Nlri]] = defaultdict(list)
        gone: dict[model.Family, list[model.Nlri]] = defaultdict(list)
        for family, key in old.routes.keys() - new.routes.keys():
            if key not in self._left[family]:
                self.keys[family].discard(key)
                gone[family].append(key)
        moved = old.table != new.table
        for (family, key), route in new.routes.items():
            if moved or old.routes.get((family, key)) != route:
                self.keys[family].add(key)
                wanted[family, route].append(key)
        for family, keys in gone.items():
            self._forwarding.drop(family, keys)
        for (family, value), keys in wanted.items():
            self._forwarding.want((family, new.table), value, keys)

    def _linger(self, family: model.Family, key: model.Nlri, table: int) -> None:
        self._claims[family][key] = Claim.LEFT
        self.keys[family].add(key)
        self._forwarding.want((family, table), model.Blackhole(), [key])
        loop = asyncio.get_running_loop()
        self._left[family][key] = loop.call_later(LINGER, self._over, family, key)

    def _over(self, family: model.Family, key: model.Nlri) -> None:
        self._forget(family, key)
        self._decide(family, [key])

    def _forget(self, family: model.Family, key: model.Nlri) -> None:
        timer = self._left[family].pop(key, None)
        if timer is not None:
            timer.cancel()
            del self._claims[family][key]
            self.keys[family].discard(key)


def _what(own: plan.own.Own, prefix: model.Prefix) -> str:
    """What a prefix of ours is, for the log."""
    claim = own.claims[model.Family.of(prefix), model.nlri(prefix)]
    return "endpoint" if claim is Claim.HOST else "network"


def _differing(old: dict[Key, Claim], new: dict[Key, Claim]) -> list[Key]:
    return [key for key in old.keys() | new.keys() if old.get(key) is not new.get(key)]


def _tell_notes(network_id: str, old: plan.own.Own, new: plan.own.Own) -> None:
    for prefix, reason in new.notes.items():
        if old.notes.get(prefix) != reason:
            log.info(
                "network not announced network=%s prefix=%s reason=%s",
                network_id[:12],
                prefix,
                reason,
            )
