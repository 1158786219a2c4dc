"""A gobgpd as `ports.Engine`: one that runs already, or one of our own.

    api         what can be asked of gobgpd, in its messages    process     a gobgpd of our own
    feed        what it tells: tables and changes               learned     what that means
    originated  what we announce                                roster      its neighbours
    used        what of it becomes routes                       life        the connection

All of it is kept true by tasks that live as long as a connection to gobgpd. When that is lost,
nothing is forgotten: what was learned stays for a bounded time, and with the next connection
all is compared with what gobgpd then has.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import pathlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.engines.gobgp import api as api_
from bgp_ipvlan.engines.gobgp import feed, learned, life, originated, roster, used
from bgp_ipvlan.engines.gobgp import process as process_

log = logging.getLogger("bgp_ipvlan")

FOLDER = pathlib.Path("/run/bgp-ipvlan")
_FIRST = 2.0
"""Seconds that a start waits for it; then it goes on without."""
_TOLD = 5.0
"""Seconds that a shutdown waits for gobgpd to take all back."""
_SENT = 1.0
"""Seconds that withdrawals have to leave gobgpd."""
_HINTS = 0.2
"""Seconds for which hints are gathered."""
_LOOK = 10.0
"""Seconds after which our prefixes are looked up again: others may announce them as well."""


class GobgpEngine:
    """See the module.

    Args:
        config: this speaker and its neighbours.
        events: whom to tell.
        api: where a running gobgpd is asked (`HOST:PORT`, `unix:PATH`); None starts one.
        command: the program to start.
        document: its configuration (TOML).
        folder: for its socket and configuration.
        room: while it is not set nothing more is taken from gobgpd.
    """

    def __init__(
        self,
        config: model.SpeakerConfig,
        events: ports.EngineEvents,
        *,
        api: str | None,
        command: str = "gobgpd",
        document: str = "",
        folder: pathlib.Path = FOLDER,
        room: ports.Room | None = None,
    ) -> None:
        if room is None:
            always = asyncio.Event()
            always.set()
            room = always
        self._config = config
        self._events = events
        self._process = process_.Process(command, document, folder) if api is None else None
        self._api = api_.Api(
            self._process.api if self._process else str(api), restart_time=config.restart_time
        )
        self._used = used.Used(config, events)
        self._learned = learned.Learned(self._used)
        self._roster = roster.Roster(
            self._api, config, events, spawned=api is None, special=process_.special(document)
        )
        self._originated = originated.Originated(
            self._api, learned=self._learned, internal=self._roster.internal
        )
        self._roster.on_complete = self._read_once_more
        self._roster.on_internal = self._originated.mark_all
        self._feed = feed.Feed(
            self._api,
            self._learned,
            room=room,
            on_peer=self._roster.look,
            on_local=self._originated.found,
            on_hint=self._hint,
        )
        self._feed.on_table = self._has_read
        self._life = life.Life(
            self._api,
            local_as=config.local_as,
            patience=config.sync_deadline,
            quiet=api is None,
        )
        self._life.works = self._works
        self._life.on_lost, self._life.on_complete = self._lost, self._complete
        self._task: asyncio.Task[None] | None = None
        self._synced = self._restarted = False
        self._generation = 0
        self._awaited = 0
        """Which reading of the table, in this connection, will have it all; 0 while none can."""
        self._hints: set[tuple[model.Family, model.Nlri] | None] = set()
        self._hinted: asyncio.TimerHandle | None = None
        self._later: set[asyncio.Task[None]] = set()

    # --- ports.Engine: life ------------------------------------------------------------------

    async def start(self, *, restarted: bool, forwarding_preserved: bool) -> None:
        """Reach gobgpd, having started it where it is ours; see `ports.Engine`.

        The Forwarding State bit is gobgpd's own matter. One that does not answer, perhaps since
        the host is just booting, is waited for, first here and then while all else goes on.

        Raises:
            errors.EngineError: `gobgp-missing`, `gobgp-as`, `port-in-use`.
        """
        del forwarding_preserved
        self._restarted = restarted
        self._follow(self._config.neighbors, self._config.dynamic)
        if self._process is not None:
            await process_.port_is_free(self._config)
            await self._process.start(restarted=restarted)
        self._task = asyncio.create_task(self._life.run(), name="gobgp")
        try:
            async with asyncio.timeout(_FIRST):
                await self._life.answered.wait()
        except TimeoutError:
            log.warning("gobgpd not reached yet, going on without reason=gobgp-unreachable")
        if self._life.mismatch is not None:
            raise self._life.mismatch

    async def stop(self, *, withdraw: bool, message: str = "") -> None:
        """Leave; see `ports.Engine`. A gobgpd of our own ends, another stays as it is."""
        if withdraw:
            await self.shutdown(message=message)
            self._roster.leave()
            await self._told(self._roster.aligned())
        tasks = [task for task in (self._task, *self._later) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._hinted is not None:
            self._hinted.cancel()
        self._life.close()
        self._used.close()
        await self._api.close()
        if self._process is not None:
            await self._process.stop()

    def _works(self) -> life.Works:
        """All that is done while gobgpd is there."""
        restarted, self._restarted = self._restarted, False
        generation = self._process.generation if self._process else 0
        fresh, self._generation = generation != self._generation, generation
        self._awaited = 0
        return (
            self._feed.run(),
            self._originated.run(),
            self._roster.run(self._originated.told, fresh=fresh, restarted=restarted),
            self._look_now_and_then(),
        )

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._originated.mark_all()

    def _lost(self) -> None:
        self._roster.gone()
        self._learned.all_stale()

    def _read_once_more(self) -> None:
        """The neighbours have said all: what gobgpd's table has from now on is all there is.

        What has been read so far may be from before: more of it may be on its way to us.
        """
        if self._awaited == 0:
            self._awaited = self._feed.again()

    def _has_read(self, number: int) -> None:
        if 0 < self._awaited <= number:
            self._life.complete()

    def _complete(self) -> None:
        """All is known that there is to know, or it took too long."""
        if self._learned.stale:
            self._soon(self._learned.flush())
        if not self._synced:
            self._synced = True
            log.info("tables complete")
            self._events.synced()

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(life.quietly(work))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # --- ports.Engine: what we announce ----------------------------------------------------

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Announce by gobgpd; see `ports.Engine`. Towards all neighbours with one next hop."""
        self._originated.announce(announcements)

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Withdraw from gobgpd."""
        self._originated.withdraw(prefixes)

    def withheld(self) -> Mapping[model.Prefix, str]:
        """Those that another client of gobgpd announces."""
        return {model.prefix(*key): "foreign-path" for key in self._originated.foreign}

    async def delivered(
        self, prefixes: Collection[model.Prefix], *, timeout: float
    ) -> model.Delivery:
        """Wait until gobgpd has them; what it has it sends at once; see `ports.Engine`."""
        keys = [(model.Family.of(prefix), model.nlri(prefix)) for prefix in prefixes]
        is_told = True
        try:
            async with asyncio.timeout(timeout):
                await self._originated.told(keys)
        except TimeoutError:
            is_told = False
        established = self._roster.established()
        return model.Delivery(len(established), () if is_told else established)

    # --- ports.Engine: what was learned ----------------------------------------------------

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:
        """Paths in use."""
        return self._used.best[family].get(prefix, ())

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:
        """All prefixes with a path."""
        return self._used.best[family]

    def refusals(self, family: model.Family) -> Iterable[model.Refusal]:
        """Paths that import rules keep out; what gobgpd's own policies do is not told."""
        return self._used.refusals(family)

    def surroundings_changed(
        self,
        addresses: Collection[model.Address],
        usable: Callable[[model.Path], bool],
    ) -> None:
        """Choose again among equal paths; the sessions are gobgpd's."""
        del addresses
        self._used.next_hops_changed(usable)

    def _hint(self, keys: list[tuple[model.Family, model.Nlri]] | None) -> None:
        """Perhaps somebody else announces a prefix of ours now; many hints are one look."""
        self._hints.update([None] if keys is None else keys)
        if self._hinted is None:
            self._hinted = asyncio.get_running_loop().call_later(_HINTS, self._look)

    def _look(self) -> None:
        hints, self._hints, self._hinted = self._hints, set(), None
        if None in hints:
            self._originated.mark_all()
        else:
            self._originated.look(key for key in hints if key)

    # --- ports.Engine: neighbours ---------------------------------------------------------------

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """All neighbours, as looked up moments ago.

        What gobgpd has sent it would have to count in its table: it is what it has of us.
        """
        kept_out = Counter(
            one.path.neighbor for family in model.Family for one in self.refusals(family)
        )
        sent = Counter(family for family, _ in self._originated.there)
        return tuple(
            dataclasses.replace(
                one,
                refused=one.refused + kept_out[one.address],
                sent=sum(sent[family] for family in one.families),
            )
            for one in self._roster.statuses()
        )

    def about(self) -> Mapping[str, object]:
        """Which gobgpd, and whether it is there."""
        return {
            "gobgp": {
                "spawned": self._process is not None,
                "api": self._api.target,
                "reached": self._life.is_there,
            }
        }

    def warnings(self) -> Iterator[str]:
        """What is wrong with gobgpd, and what it does not announce for us."""
        if not self._life.is_there:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._life.since))
            why = self._life.trouble or errors.EngineError("gobgp-unreachable", "beginning anew")
            yield f"no gobgpd since {since}: {why} [{why.reason}]"
        for prefix in sorted(map(str, self.withheld())):
            yield (
                f"{prefix} is not announced: another client of gobgpd announces it, see `gobgp "
                f"global rib` [foreign-path]"
            )

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        """Have exactly these besides gobgpd's own; see `ports.Engine`."""
        neighbors, dynamic = tuple(neighbors), tuple(dynamic)
        for one in (*neighbors, *(found.template for found in dynamic)):
            self._api.check_neighbor(one)
        for one in neighbors:
            old = self._roster.wanted(one.address)
            if old is not None and old != one and self._roster.own_of_gobgpd(one.address):
                raise errors.EngineError(
                    "gobgp-neighbor",
                    f"neighbor {one.address} is gobgpd's own: change it there, in its file or with "
                    f"`gobgp neighbor`",
                )
        self._follow(neighbors, dynamic)

    def _follow(
        self,
        neighbors: Collection[model.NeighborConfig],
        dynamic: Collection[model.DynamicNeighbors],
    ) -> None:
        self._roster.configure(neighbors, dynamic)
        self._used.configure(neighbors)

    def reset(self, neighbor: model.Address, *, soft: bool, message: str = "") -> None:
        """Have gobgpd reset a session; see `ports.Engine`."""
        found = {one.address: one for one in self._roster.statuses()}.get(neighbor)
        if found is None:
            raise errors.EngineError(
                "unknown-neighbor", f"there is no neighbor {neighbor}: see bgp-ipvlan neighbors"
            )
        if soft and found.state is not model.SessionState.ESTABLISHED:
            raise errors.EngineError(
                "not-established", f"neighbor {neighbor} has no session to ask for routes"
            )
        if not self._life.is_there:
            raise self._life.trouble or errors.EngineError("gobgp-unreachable", "no gobgpd now")
        self._soon(self._reset(neighbor, soft=soft, message=message))

    async def _reset(self, neighbor: model.Address, *, soft: bool, message: str) -> None:
        await self._api.reset_neighbor(neighbor, soft=soft, message=message)
        if not soft:
            # GoBGP 3 lets it rest for half a minute.
            self._roster.renew(neighbor)

    def graceful_shutdown(self, *, on: bool) -> None:
        """Mark what goes out, or no longer."""
        if self._originated.graceful_shutdown is not on:
            self._originated.graceful_shutdown = on
            self._originated.mark_all()

    async def shutdown(self, *, message: str = "") -> None:
        """Withdraw, end the sessions that are ours, stay so; see `ports.Engine`."""
        self._originated.silent = True
        self._originated.mark_all()
        await self._told(self._withdrawn())
        self._roster.shut(message)
        self._used.mute(self._roster.own_sessions())
        await self._told(self._roster.aligned())

    async def _withdrawn(self) -> None:
        """Return when neighbours have been sent the withdrawals: a Cease would overtake them."""
        await self._originated.told()
        loop = asyncio.get_running_loop()
        end = loop.time() + _SENT
        before: dict[str, int] = {}
        while loop.time() < end and (now := await self._api.updates_sent()) != before:
            before = now
            await asyncio.sleep(_HINTS)

    async def _told(self, what: Coroutine[None, None, None]) -> None:
        """Wait until gobgpd has been told something, but not for long."""
        if self._task is None or not self._life.is_there:
            what.close()
            if self._task is not None and self._process is None:
                # It may be cut off from us only, and go on announcing.
                log.warning("gobgpd has not taken back all reason=gobgp-unreachable")
            return
        try:
            async with asyncio.timeout(_TOLD):
                await what
        except (TimeoutError, errors.EngineError):
            log.warning("gobgpd has not taken back all reason=gobgp-unreachable")

    def resume(self) -> None:
        """Talk again."""
        self._originated.silent = False
        self._originated.graceful_shutdown = False
        self._originated.mark_all()
        self._roster.resume()
        self._used.mute(())
