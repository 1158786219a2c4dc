"""From what neighbours say to the tables: policy, limits, and the word to whom it concerns.

Much at once, such as the loss of a neighbour with all its routes, is worked off in slices,
so that no turn of the loop is long (D7). That may be interrupted anywhere by newer events:
each slice is decided from the tables as they are then.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable

from bgp_ipvlan import model, ports
from bgp_ipvlan.bgp import policy, rib, session

log = logging.getLogger("bgp_ipvlan")

_TURN = 0.003
"""Seconds after which a turn of the loop takes no further slice."""

Rules = tuple[model.PrefixRule, ...] | None
_SLICE = 500
"""Prefixes decided per turn of the loop: 5 ms at most, where each has a path of its own."""


@dataclasses.dataclass(slots=True)
class _Told:
    """What was logged about a neighbour's session: once is enough."""

    reasons: set[str] = dataclasses.field(default_factory=set)
    warned: set[model.Family] = dataclasses.field(default_factory=set)


class Learning:
    """See the module.

    Args:
        config: this speaker.
        events: whom to tell.
    """

    def __init__(self, config: model.SpeakerConfig, events: ports.EngineEvents) -> None:
        self._events = events
        self._default_rules = config.import_rules
        self._policies: dict[model.Address, tuple[Rules, policy.Policy]] = {}
        self.rib = rib.Rib(maximum_paths=config.maximum_paths)
        self._told: dict[model.Address, _Told] = {}
        self._backlog: deque[Callable[[], None]] = deque()
        """What is left for later turns of the loop."""
        self._flushing: set[tuple[model.Address, model.Family]] = set()
        self._turn: asyncio.Handle | None = None

    # --- a neighbour speaks ----------------------------------------------------------------

    def learned(self, neighbor: model.NeighborConfig, event: session.Learned) -> None:
        """Prefixes announced or withdrawn."""
        if event.path is None:
            if event.problem:
                self._note(neighbor, event, event.problem.replace(" ", "-"))
            self._accept(neighbor, event, event.prefixes)
        elif event.refused:
            self._refuse(neighbor, event, event.prefixes, event.refused)
        else:
            accepted, refused = self._policy(neighbor).split(event.family, event.prefixes)
            if refused:
                self._refuse(neighbor, event, refused, policy.REASON)
            if accepted:
                self._accept(neighbor, event, accepted)

    def _accept(
        self, neighbor: model.NeighborConfig, event: session.Learned, prefixes: list[model.Nlri]
    ) -> None:
        self._tell(
            self.rib.learn(
                neighbor.address, event.family, event.path, prefixes, path_id=event.path_id
            )
        )

    def _refuse(
        self,
        neighbor: model.NeighborConfig,
        event: session.Learned,
        prefixes: list[model.Nlri],
        reason: str,
    ) -> None:
        assert event.path is not None
        self._note(neighbor, event, reason)
        self._tell(
            self.rib.refuse(
                neighbor.address,
                event.family,
                event.path,
                prefixes,
                reason,
                path_id=event.path_id,
            )
        )

    def _policy(self, neighbor: model.NeighborConfig) -> policy.Policy:
        """Made anew when the configuration brings another list; told by identity, for speed."""
        rules = neighbor.import_rules
        if rules is None:
            rules = self._default_rules
        found = self._policies.get(neighbor.address)
        if found is None or found[0] is not rules:
            found = self._policies[neighbor.address] = rules, policy.Policy(rules)
        return found[1]

    def _note(self, neighbor: model.NeighborConfig, event: session.Learned, reason: str) -> None:
        """Once per session and reason: many of these come with every table."""
        told = self._told.setdefault(neighbor.address, _Told())
        level = logging.DEBUG if reason in told.reasons else logging.WARNING
        if reason in {policy.REASON, "as-loop"} and level == logging.WARNING:
            level = logging.INFO  # as wanted, or as is usual in a rack of one AS
        told.reasons.add(reason)
        log.log(
            level,
            "routes not used neighbor=%s count=%d first_prefix=%s reason=%s",
            neighbor.address,
            len(event.prefixes),
            model.prefix(event.family, event.prefixes[0]) if event.prefixes else "-",
            reason,
        )

    def exceeds(self, neighbor: model.NeighborConfig, family: model.Family) -> bool:
        """Whether a neighbour has said more of a family than it may; warns when it is near."""
        limit = neighbor.max_prefixes
        if not limit:
            return False
        count = self.rib.count(neighbor.address, family)
        if count > limit:
            return True
        told = self._told.setdefault(neighbor.address, _Told())
        if count * 100 >= limit * neighbor.max_prefixes_warn and family not in told.warned:
            told.warned.add(family)
            log.warning(
                "many prefixes neighbor=%s family=%s count=%d max_prefixes=%d "
                "reason=max-prefixes-near",
                neighbor.address,
                family.name.lower(),
                count,
                limit,
            )
        return False

    # --- a neighbour is gone, or says all again ---------------------------------------------

    def begin(self, neighbor: model.Address) -> None:
        """A session is up: what was said about the last one may be said again."""
        self._told.pop(neighbor, None)

    def lost(
        self,
        neighbor: model.Address,
        *,
        keep: frozenset[model.Family],
        refreshing: frozenset[model.Family] = frozenset(),
    ) -> None:
        """Forget its routes, or keep them for its return.

        Args:
            neighbor: whose.
            keep: families to keep, marked stale.
            refreshing: those of which it was saying all again when the session ended: what it
                had not said again yet is as good as the rest.
        """
        for family in keep - refreshing:
            # Not heard of since its last restart (RFC 4724 section 4.2).
            self._decide(family, self.rib.flush_stale(neighbor, family))
        for family in keep:
            self.mark_stale(neighbor, family)
        self.forget(neighbor, keep=keep)

    def mark_stale(self, neighbor: model.Address, family: model.Family) -> None:
        """What it does not say again goes with `flush_stale`."""
        if (neighbor, family) in self._flushing:
            # Else what was about to go would be kept with the rest.
            self._flushing.discard((neighbor, family))
            self._decide(family, self.rib.flush_stale(neighbor, family))
        self.rib.mark_stale(neighbor, (family,))

    def forget(
        self, neighbor: model.Address, *, keep: frozenset[model.Family] = frozenset()
    ) -> None:
        """Forget all it said, but for some families."""
        self._told.pop(neighbor, None)
        self._policies.pop(neighbor, None)
        for family, prefixes in self.rib.forget(neighbor, keep=keep).items():
            self._decide(family, prefixes)

    def flush_stale(self, neighbor: model.Address, family: model.Family) -> None:
        """It has not announced these again."""
        self._flushing.add((neighbor, family))
        self._flush_slice(neighbor, family)

    def _flush_slice(self, neighbor: model.Address, family: model.Family) -> None:
        if (neighbor, family) not in self._flushing:
            return
        lost = self.rib.flush_stale(neighbor, family, limit=_SLICE)
        if self.rib.is_stale(neighbor, family):
            self._later(functools.partial(self._flush_slice, neighbor, family))
        else:
            self._flushing.discard((neighbor, family))
        self._redecide(family, lost)

    def next_hops_changed(self, usable: Callable[[model.Path], bool]) -> None:
        """Other next hops can be reached than before: decide again where there is a choice."""
        self.rib.usable = usable
        for family in model.Family:
            self._decide(family, self.rib.contested(family))

    # --- deciding -------------------------------------------------------------------------

    def _decide(self, family: model.Family, prefixes: list[model.Nlri]) -> None:
        if len(prefixes) <= _SLICE:
            self._redecide(family, prefixes)
            return
        for start in range(0, len(prefixes), _SLICE):
            part = prefixes[start : start + _SLICE]
            self._later(functools.partial(self._redecide, family, part))

    def _redecide(self, family: model.Family, prefixes: list[model.Nlri]) -> None:
        self._tell(self.rib.redecide(family, prefixes))

    def _later(self, work: Callable[[], None]) -> None:
        self._backlog.append(work)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """Slices, as many as the time of a turn allows: one may take 0.2 ms, or 5."""
        self._turn = None
        loop = asyncio.get_running_loop()
        end = loop.time() + _TURN
        while self._backlog:
            self._backlog.popleft()()
            if loop.time() > end:
                break
        if self._backlog and self._turn is None:
            self._turn = loop.call_soon(self._work)

    def _tell(self, changes: Iterable[model.BestPaths]) -> None:
        for change in changes:
            self._events.best_paths(change)

    def stop(self) -> None:
        """Decide nothing more."""
        self._backlog.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
