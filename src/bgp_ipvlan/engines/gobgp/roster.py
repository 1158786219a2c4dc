"""gobgpd's neighbours: brought in line with the configuration, watched, and waited for.

In a gobgpd that we started all are ours. In one that ran already those it has stay as they are;
what we add we mark in its description, so that an earlier life's are known for ours.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import ipaddress
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.engines.gobgp import api as api_

log = logging.getLogger("bgp_ipvlan")

_MARK = re.compile(r"bgp-ipvlan (?P<digest>[0-9a-f]{8})(?: (?P<rest>.*))?")
"""Description of a neighbour that we added to somebody's gobgpd. The digest tells a later life
whether it is as it should be: gobgpd forgets what was agreed on graceful restart when it is told
(UpdatePeer) of a neighbour anew, be it the same."""
_GONE = object()
_EAGER = 0.2
_LAZY = 5.0
"""Seconds between two looks: after something has happened, and when nothing did for long. gobgpd goes
through its tables for each."""
_READ = 1.0
"""Seconds in which gobgpd does not add neighbours after it has read its configuration."""
_ABSENT = 10.0
"""Seconds after which a neighbour that gobgpd had before it restarted does not come any more."""
_QUIET = 3.0
"""As the embedded engine has it."""


class Roster:
    """See the module.

    Args:
        api: gobgpd.
        config: this speaker.
        events: whom to tell of sessions.
        spawned: whether this gobgpd is ours.
        special: neighbours of whom its file says what its API is not told.
    """

    def __init__(
        self,
        api: api_.Api,
        config: model.SpeakerConfig,
        events: ports.EngineEvents,
        *,
        spawned: bool,
        special: frozenset[model.Address] = frozenset(),
    ) -> None:
        self._special = special
        self._api = api
        self._config = config
        self._events = events
        self._spawned = spawned
        self._wanted: dict[model.Address, model.NeighborConfig] = {}
        self._ranges: dict[model.Prefix, model.DynamicNeighbors] = {}
        self._there: dict[model.Address | model.Prefix, object] = {}
        """What we asked gobgpd to have, as it was then."""
        self._look = asyncio.Event()
        self._statuses: dict[model.Address, model.NeighborStatus] = {}
        self.on_complete: Callable[[], None] = lambda: None
        """Called, time and again, while every neighbour is up and has said all."""
        self.on_internal: Callable[[], None] = lambda: None
        """Called when `internal` is another."""
        self._message = ""
        self._is_shut = False
        self._shut: set[model.Address] = set()
        self._received: dict[model.Address, tuple[int, float]] = {}
        """How much each had sent when that last changed, and when that was."""
        self._is_first = False
        """Nobody has touched this gobgpd yet, which is ours: it is as its file has it."""
        self._ours: set[model.Address] = set()
        self._ranges_there: dict[model.Prefix, str] = {}
        """Ranges of ours that gobgpd has, with their descriptions."""
        self._configured_at = time.time()
        self._refused: dict[model.Address, str] = {}
        """What gobgpd said to neighbours that it does not have."""
        self._since = 0.0
        """When this connection began."""
        self._before: set[model.Address] = set()
        """Neighbours that gobgpd had before it; it may still be reading its configuration."""
        self._renewed: set[model.Address] = set()
        self._new: set[model.Address] = set()
        """Added and not looked at yet."""
        self._has_woken = self._restarted = False
        self._passes = 0
        self._passed = asyncio.Event()

    def statuses(self) -> tuple[model.NeighborStatus, ...]:
        """The neighbours as last seen; those that gobgpd does not have yet are idle."""
        seen = {
            address: one
            for address, one in self._statuses.items()
            if address not in self._ours
            or (address not in self._new and self._there.get(address) == self._asked(address))
        }
        missing = (
            model.NeighborStatus(
                address=one.address,
                remote_as=one.remote_as,
                local_as=one.local_as or self._config.local_as,
                state=model.SessionState.IDLE,
                since=self._configured_at,
                last_error=self._refused.get(one.address, ""),
                password=bool(one.password),
                description=one.description,
            )
            for one in self._wanted.values()
            if one.address not in seen
        )
        return (*seen.values(), *missing)

    def _asked(self, address: model.Address) -> object:
        """What gobgpd is to be told of a neighbour; not None, and nothing it was told, without one."""
        one = self._wanted.get(address)
        return _GONE if one is None else _told(one)

    def own_of_gobgpd(self, address: model.Address) -> bool:
        """Whether gobgpd has a neighbour that is not ours."""
        return address in self._statuses and address not in self._ours

    def wanted(self, address: model.Address) -> model.NeighborConfig | None:
        """As configured last."""
        return self._wanted.get(address)

    def established(self) -> tuple[model.Address, ...]:
        """Whose sessions are up."""
        up = model.SessionState.ESTABLISHED
        return tuple(one.address for one in self.statuses() if one.state is up)

    def internal(self) -> bool:
        """Whether there are neighbours in our own AS."""
        kept = [
            one
            for one in self._statuses.values()
            if one.address in self._wanted or one.address not in self._ours
        ]
        return any(one.remote_as == one.local_as for one in kept) or any(
            one.remote_as == (one.local_as or self._config.local_as)
            for one in self._wanted.values()
        )

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        """Have these from now on; `run` sees to it."""
        self._configured_at = time.time()
        self._wanted = {one.address: one for one in neighbors}
        self._ranges = {one.prefix: one for one in dynamic}
        self._look.set()

    def own_sessions(self) -> frozenset[model.Address]:
        """Neighbours that are ours, or will be."""
        return frozenset(self._ours | self._wanted.keys() - self._statuses.keys())

    def shut(self, message: str) -> None:
        """End the sessions that are ours, and let them rest, until `resume`."""
        self._message, self._is_shut = message, True
        self._look.set()

    def resume(self) -> None:
        """Let them come again."""
        self._is_shut = False
        self._look.set()

    def renew(self, address: model.Address) -> None:
        """Have a neighbour connect at once: a new one does, one that was reset rests for 30 s."""
        if address in self._ours and address not in self._special:
            self._renewed.add(address)
            self._there.pop(address, None)
            self._look.set()

    def leave(self) -> None:
        """Have none that is ours any more."""
        self.configure((), ())

    async def aligned(self) -> None:
        """Return when gobgpd has been told all that was asked before."""
        # The pass that runs may have begun too early.
        wanted = self._passes + 2
        while self._passes < wanted:
            self._look.set()
            self._passed.clear()
            await self._passed.wait()

    # --- while gobgpd is there -----------------------------------------------------------------

    async def run(
        self, ready: Callable[[], Awaitable[None]], *, fresh: bool, restarted: bool
    ) -> None:
        """Bring neighbours in line, and look at them now and then, until gobgpd is gone.

        Args:
            fresh: it is a gobgpd of our own that nobody has touched yet.
            restarted: neighbours may have kept routes of ours.
            ready: returns when gobgpd announces what we want. A session that came up before
                would begin with an End-of-RIB, and the neighbour forget what it had kept of us.

        Raises:
            errors.EngineError: `gobgp-unreachable`.
        """
        if fresh or not self._spawned:
            self._there = {}
        self._shut, self._received = set(), {}
        self._refused.clear()
        self._restarted = restarted
        self._since = asyncio.get_running_loop().time()
        self._before = set(self._statuses)
        self._is_first, self._has_woken = fresh, False
        await self._settled()
        await ready()
        await self._find_ranges()
        pause = _EAGER
        while True:
            pause = _EAGER if self._look.is_set() else min(2 * pause, _LAZY)
            self._look.clear()
            found = await self._api.neighbors()
            if await self._align({one.address: one for one in found}):
                found = await self._api.neighbors()
            before = self.internal()
            complete = self._see(found)
            if self.internal() != before:
                self.on_internal()
            self._is_first = self._restarted = False
            self._passes += 1
            self._passed.set()
            if complete:
                self.on_complete()
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _settled(self) -> None:
        """Return when gobgpd has read its configuration, which it does while it answers already.

        What we added before it would be in the way of its own.
        """
        loop = asyncio.get_running_loop()
        before, since = set[model.Address](), loop.time()
        while loop.time() - since < _READ:
            now = {one.address for one in await self._api.neighbors()}
            if self._spawned and now >= {one.address for one in self._config.neighbors}:
                break
            if now != before:
                before, since = now, loop.time()
            await asyncio.sleep(_EAGER)

    def look(self) -> None:
        """Something happened to a neighbour: see what.

        An event says it as well, but how old it is beside what was looked up nobody knows.
        """
        self._look.set()

    def gone(self) -> None:
        """Lose gobgpd, and with it all sessions."""
        for one in self._statuses.values():
            self._put(
                dataclasses.replace(one, state=model.SessionState.IDLE, last_error="gobgpd is gone")
            )

    async def _align(self, found: dict[model.Address, model.NeighborStatus]) -> bool:
        """Add, change and remove neighbours; whether anything was."""
        wanted = self._wanted.keys() | self._ranges.keys()
        before = dict(self._there)
        for address, one in self._wanted.items():
            if self._there.get(address) != _told(one):
                await self._put_neighbor(one, found.get(address))
        for prefix, one_ in self._ranges.items():
            if self._there.get(prefix) != one_:
                await self._put_range(one_)
        gone: list[model.Address | model.Prefix] = [
            address
            for address, status in found.items()
            if address not in self._wanted and self._is_ours(status)
        ]
        gone += [prefix for prefix in self._ranges_there if prefix not in self._ranges]
        for key in gone:
            await self._remove(key)
        for key in [key for key in self._there if key not in wanted]:
            del self._there[key]
        await self._rest(found)
        return before != self._there or bool(gone)

    async def _rest(self, found: dict[model.Address, model.NeighborStatus]) -> None:
        """Shut what is to be shut, and wake what is not."""
        there = self._there.keys() | found.keys()
        ours = {a for a in self._wanted if a in there and self._mine(a, found)}
        if self._is_shut:
            for address in ours - self._shut:
                await self._try(self._api.disable_neighbor(address, self._message))
            self._shut |= ours
            return
        if not self._has_woken:
            # Shut by an earlier life.
            self._shut |= {a for a in ours & found.keys() if found[a].idle_reason == "shutdown"}
        for address in self._shut & ours:
            await self._try(self._api.enable_neighbor(address))
        self._shut.clear()
        self._has_woken = True

    def _mine(
        self, address: model.Address, found: dict[model.Address, model.NeighborStatus]
    ) -> bool:
        return address not in found or self._is_ours(found[address])

    def _is_ours(self, one: model.NeighborStatus) -> bool:
        return not one.dynamic and (self._spawned or bool(_MARK.fullmatch(one.description)))

    async def _put_neighbor(
        self, one: model.NeighborConfig, found: model.NeighborStatus | None
    ) -> None:
        # Done or refused: it is not asked again.
        self._there[one.address] = told = _told(one)
        marked = self._marked(one)
        if found is not None and not self._is_ours(found):
            log.info(
                "neighbor left as gobgpd has it neighbor=%s reason=gobgp-neighbor", one.address
            )
            return
        if found is not None:
            in_file = self._is_first and told in map(_told, self._config.neighbors)
            known = _MARK.fullmatch(found.description)
            same = not self._spawned and known and known["digest"] == _digest(one)
            if in_file or (same and one.address not in self._renewed):
                return
            if one.address in self._special:
                log.warning(
                    "neighbor without what only gobgpd's file says neighbor=%s reason=gobgp-file "
                    "(route-reflector, policies, …: until the daemon is started again)",
                    one.address,
                )
            await self._try(self._api.delete_neighbor(one.address))
        # RFC 4724: what it has kept of us it keeps only if we say that we have restarted.
        self._renewed.discard(one.address)
        self._new.add(one.address)
        self._shut.discard(one.address)  # a new one is awake
        restarting = one.address in self._before or (found is None and self._restarted)
        error = await self._try(self._api.add_neighbor(marked, restarting=restarting))
        if error is None:
            self._refused.pop(one.address, None)
        else:
            self._refused[one.address] = str(error)

    async def _put_range(self, one: model.DynamicNeighbors) -> None:
        self._there[one.prefix] = one
        digest = _digest(one.template)
        known = _MARK.fullmatch(self._ranges_there.get(one.prefix, ""))
        in_file = self._is_first and one in self._config.dynamic
        if in_file or (known and known["digest"] == digest):
            return
        await self._try(self._api.delete_range(one.prefix))
        await self._try(self._api.add_range(one, f"bgp-ipvlan {digest}"))
        self._ranges_there[one.prefix] = f"bgp-ipvlan {digest}"

    async def _find_ranges(self) -> None:
        self._ranges_there = await self._api.ranges()

    async def _remove(self, key: model.Address | model.Prefix) -> None:
        self._there.pop(key, None)
        if isinstance(key, ipaddress.IPv4Address | ipaddress.IPv6Address):
            self._before.discard(key)
            self._shut.discard(key)
            await self._try(self._api.delete_neighbor(key))
        else:
            self._ranges_there.pop(key, None)
            await self._try(self._api.delete_range(key))

    def _marked(self, one: model.NeighborConfig) -> model.NeighborConfig:
        if self._spawned:
            return one
        text = f"bgp-ipvlan {_digest(one)} {one.description}".rstrip()
        return dataclasses.replace(one, description=text)

    async def _try(self, call: Awaitable[object]) -> errors.EngineError | None:
        """Ask gobgpd; a refusal is logged and returned, and all else goes on."""
        try:
            await call
        except errors.EngineError as error:
            if error.reason == "gobgp-unreachable":
                raise
            log.error("gobgpd refused reason=%s error=%s", error.reason, error)
            return error
        return None

    def _see(self, found: Iterable[model.NeighborStatus]) -> bool:
        """Take over what was found; whether all is known that there is to know."""
        now = {one.address: one for one in found}
        if asyncio.get_running_loop().time() - self._since > _ABSENT:
            self._before.clear()
        for address in self._statuses.keys() - now.keys() - self._before:
            gone = self._statuses.pop(address)
            if gone.state is model.SessionState.ESTABLISHED:
                idle = dataclasses.replace(gone, state=model.SessionState.IDLE)
                self._events.neighbor_changed(idle, "removed")
        self._new.clear()
        self._ours = {one.address for one in now.values() if self._is_ours(one)}
        for one in now.values():
            self._put(self._shown(one))
        return now.keys() >= self._statuses.keys() | self._wanted.keys() and all(
            self._has_said_all(one) for one in now.values() if not one.dynamic
        )

    def _shown(self, one: model.NeighborStatus) -> model.NeighborStatus:
        """Without our mark, and by the name that it has now."""
        if one.dynamic and _MARK.fullmatch(one.description):
            return dataclasses.replace(one, description="")
        if one.address not in self._ours:
            return one
        wanted = self._wanted.get(one.address)
        return dataclasses.replace(one, description=wanted.description if wanted else "")

    def _has_said_all(self, one: model.NeighborStatus) -> bool:
        """By End-of-RIB; a neighbour that promises none has when it was silent for a while."""
        # Those in the file of a gobgpd of ours are down until we enable them.
        awaited = one.address in self._ours and not self._is_shut
        if one.end_of_rib or (one.idle_reason and not (awaited and one.idle_reason == "shutdown")):
            return True
        if one.state is not model.SessionState.ESTABLISHED or one.graceful_restart:
            return False
        now = asyncio.get_running_loop().time()
        received, since = self._received.get(one.address, (-1, now))
        if received != one.received:
            received, since = self._received[one.address] = one.received, now
        return now - since > _QUIET

    def _put(self, one: model.NeighborStatus) -> None:
        old = self._statuses.get(one.address)
        if old is not None and old.state is one.state is not model.SessionState.ESTABLISHED:
            one = dataclasses.replace(one, since=old.since)
        elif not one.since:  # it has never been up
            one = dataclasses.replace(one, since=time.time())
        self._statuses[one.address] = one
        up = model.SessionState.ESTABLISHED
        was, now = old is not None and old.state is up, one.state is up
        if old is not None and was and now and old.since != one.since:
            # Down and up again between two looks.
            down = dataclasses.replace(one, state=model.SessionState.IDLE)
            self._events.neighbor_changed(down, "")
            was = False
        if was is not now:
            if was:
                # gobgpd says when the session before ended, or nothing.
                one = self._statuses[one.address] = dataclasses.replace(one, since=time.time())
            self._events.neighbor_changed(one, one.last_error)


def _digest(one: model.NeighborConfig) -> str:
    return hashlib.sha256(f"{_told(one)!r}{one.password}".encode()).hexdigest()[:8]


def _told(one: model.NeighborConfig) -> model.NeighborConfig:
    """What a session depends on; the rest gobgpd need not be told."""
    return dataclasses.replace(one, import_rules=None, recursive=False, description="")
