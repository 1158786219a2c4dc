"""From what neighbours say to the tables: policy, limits, and the word to whom it concerns.

Much at once, such as the loss of a neighbour with all its routes, is worked off in slices,
so that no turn of the loop is long (D7). That may be interrupted anywhere by newer events:
each slice is decided from the tables as they are then.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable

from bgp_ipvlan import model, ports
from bgp_ipvlan.bgp import policy, rib, session

log = logging.getLogger("bgp_ipvlan")

Rules = tuple[model.PrefixRule, ...] | None
_SLICE = 2000
"""Prefixes decided per turn of the loop: about 5 ms."""


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
        self._backlog: deque[tuple[model.Family, list[model.Nlri]]] = deque()
        self._turn: asyncio.Handle | None = None

    # --- a neighbour speaks ----------------------------------------------------------------

    def learned(self, neighbor: model.NeighborConfig, event: session.Learned) -> bool:
        """Prefixes announced or withdrawn.

        Returns:
            Whether the neighbour has said more than it may (`max_prefixes`).
        """
        if event.path is None:
            if event.problem:
                self._note(neighbor, event, event.problem.replace(" ", "-"))
            self._tell(
                self.rib.learn(
                    neighbor.address, event.family, None, event.prefixes, path_id=event.path_id
                )
            )
            return False
        if event.refused:
            self._refuse(neighbor, event, event.prefixes, event.refused)
        else:
            accepted, refused = self._policy(neighbor).split(event.family, event.prefixes)
            if refused:
                self._refuse(neighbor, event, refused, policy.REASON)
            if accepted:
                self._tell(
                    self.rib.learn(
                        neighbor.address,
                        event.family,
                        event.path,
                        accepted,
                        path_id=event.path_id,
                    )
                )
        return self._exceeds(neighbor, event.family)

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

    def _exceeds(self, neighbor: model.NeighborConfig, family: model.Family) -> bool:
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

    def lost(self, neighbor: model.Address, *, keep: frozenset[model.Family]) -> None:
        """Forget its routes, or keep them for its return."""
        for family in keep:
            # Not heard of since its last restart (RFC 4724 section 4.2).
            self.flush_stale(neighbor, family)
        self.rib.mark_stale(neighbor, keep)
        self.forget(neighbor, keep=keep)

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
        self._decide(family, self.rib.flush_stale(neighbor, family))

    def next_hops_changed(self, usable: Callable[[model.Address], bool]) -> None:
        """Other next hops can be reached than before: decide again where there is a choice."""
        self.rib.usable = usable
        for family in model.Family:
            self._decide(family, self.rib.contested(family))

    # --- deciding -------------------------------------------------------------------------

    def _decide(self, family: model.Family, prefixes: list[model.Nlri]) -> None:
        if len(prefixes) <= _SLICE and not self._backlog:
            self._tell(self.rib.redecide(family, prefixes))
            return
        for start in range(0, len(prefixes), _SLICE):
            self._backlog.append((family, prefixes[start : start + _SLICE]))
        self._go_on()

    def _go_on(self) -> None:
        if self._backlog and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._turn = None
        family, prefixes = self._backlog.popleft()
        self._tell(self.rib.redecide(family, prefixes))
        self._go_on()

    def _tell(self, changes: Iterable[model.BestPaths]) -> None:
        for change in changes:
            self._events.best_paths(change)

    def stop(self) -> None:
        """Decide nothing more."""
        self._backlog.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
