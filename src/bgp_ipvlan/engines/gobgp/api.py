"""What can be asked of gobgpd, in this package's records: the only door to its API.

Everything that knows gRPC and GoBGP's messages is behind it, for both versions of the API, and
nothing of what the engine makes of the answers:

    calls     the channel          dialects    where versions differ     wire       cutting messages
    watch     the event stream     paths       rows of tables            attributes what is in a path
    neighbors configured and real  originate   paths of our own
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from typing import Any

import grpc.aio

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import decision
from bgp_ipvlan.engines.gobgp import calls, dialects, neighbors, originate, paths, watch
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages

Kind = watch.Kind
PeerKind = watch.PeerKind
Peer = watch.Peer
Rows = watch.Rows
SLICE = watch.SLICE
Row = paths.Row
Change = paths.Change

_MOST = 64
"""Equal paths to one prefix."""
_IN = 0
"""Direction of a soft reset, counted from the dialect's base."""


@dataclasses.dataclass(frozen=True, slots=True)
class Speaker:
    """Who gobgpd is."""

    version: str
    """Of its API: "3" or "4"."""
    local_as: int
    """0 where it was started without a configuration: then it has no table and no neighbours."""
    router_id: str
    """Empty with `local_as` 0."""
    listen_port: int
    multipath: bool
    """use-multiple-paths: what is equally good is told of, too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A path in gobgpd's table."""

    neighbor: model.Address | None
    """None is gobgpd itself: somebody added it through the API, we or another client."""
    path: model.Path
    best: bool
    """gobgpd's choice, of all paths or one of the equally good ones."""
    stale: bool
    """Kept over a restart of the neighbour."""


class Api:
    """One gobgpd.

    Every call raises `errors.EngineError`: `gobgp-unreachable`, or `gobgp-refused` with what
    gobgpd said.

    Args:
        target: `HOST:PORT` or `unix:/PATH`.
        restart_time: seconds, what neighbours that we add are told (RFC 4724).
    """

    def __init__(self, target: str, *, restart_time: int = 30) -> None:
        self.target = target
        self._restart_time = restart_time
        self._channel: calls.Channel | None = None
        self._dialect = dialects.V3
        self._decoder = paths.Decoder(dialects.V3, 0)
        self._speaker = Speaker("", 0, "", 0, multipath=False)

    async def connect(self) -> Speaker:
        """Find out which version it is, and who; once more after it was lost.

        Raises:
            errors.EngineError: `gobgp-unreachable`, `gobgp-refused`.
        """
        if self._channel is None:
            self._channel = calls.Channel(self.target)
        for dialect in dialects.ALL:
            method = f"{dialect.service}/GetBgp"
            with calls.translated(self.target):
                try:
                    answer = await self._channel.call(
                        method, messages.Nothing(), messages.GetBgpResponse
                    )
                except grpc.aio.AioRpcError as error:
                    if calls.is_missing(error):
                        continue
                    raise
            one = answer.speaker
            self._dialect, self._decoder = dialect, paths.Decoder(dialect, one.asn)
            router_id = paths.source(one.router_id)
            self._speaker = Speaker(
                dialect.name,
                one.asn,
                "" if router_id is None else str(router_id),
                one.listen_port,
                multipath=one.use_multiple_paths,
            )
            return self._speaker
        raise errors.EngineError(
            "gobgp-refused", f"what answers at {self.target} is neither GoBGP 3 nor 4"
        )

    async def close(self) -> None:
        """End the connection and all calls."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    # --- the table ---------------------------------------------------------------------------

    async def watch(self, *, table: bool = True) -> AsyncGenerator[Peer | Rows, None]:
        """Neighbours and the table, then their changes, until gobgpd is gone.

        Close it (`contextlib.aclosing`) to stop.

        Args:
            table: it comes first, in slices (none where gobgpd has no AS number).

        Raises:
            errors.EngineError: also `gobgp-large`: the table is too large for gobgpd's one message.
        """
        question = watch.request(self._dialect, table=table)
        stream = self._use().stream(self._method("WatchEvent"), question)
        try:
            with calls.translated(self.target):
                async for event in watch.events(
                    self._dialect,
                    self._decoder,
                    stream,
                    multipath=self._speaker.multipath,
                    table=table,
                ):
                    yield event
        finally:
            await stream.aclose()
        raise calls.unreachable(self.target, "it ended the stream of events")

    async def table(self) -> AsyncGenerator[Rows, None]:
        """The table of best paths, a message for each prefix: slow, but of any size."""
        rows: list[Row] = []
        for family in model.Family:
            question = messages.ListPathRequest(
                table=self._dialect.base, family=messages.Family(afi=family, safi=1)
            )
            async for answer in self._stream("ListPath", question, bounded=False):
                found = self._dialect.destination.FromString(answer).destination.paths
                rows += self._equal(self._decoder.rows([raw for raw in found if raw.best]), found)
                if len(rows) >= watch.SLICE:
                    yield Rows(Kind.SNAPSHOT, rows, more=True)
                    rows = []
        yield Rows(Kind.SNAPSHOT, rows)

    def _equal(self, best: list[Row], raws: Iterable[Any]) -> list[Row]:
        """Version 3 marks one of several equally good paths only, if they are asked for so."""
        if not self._speaker.multipath or self._dialect is dialects.V4:
            return best
        return [
            (family, key, decision.select((*paths, *self._others(raws)), maximum=_MOST))
            if paths
            else (family, key, paths)
            for family, key, paths in best
        ]

    def _others(self, raws: Iterable[Any]) -> Iterator[model.Path]:
        for raw in raws:
            if not raw.best:
                yield from self._decoder.entry(raw).paths

    async def lookup(
        self, family: model.Family, keys: Collection[model.Nlri]
    ) -> dict[model.Nlri, list[Known]]:
        """All paths that gobgpd has for some few prefixes, best first; exactly these prefixes.

        Returns:
            Prefixes without a path are missing.
        """
        found: dict[model.Nlri, list[Known]] = {}
        if not keys:
            return found
        exact = self._dialect.base
        question = messages.ListPathRequest(
            table=self._dialect.base,
            family=messages.Family(afi=family, safi=1),
            prefixes=[
                messages.Lookup(prefix=str(model.prefix(family, key)), type=exact) for key in keys
            ],
        )
        async for answer in self._stream("ListPath", question):
            for raw in self._dialect.destination.FromString(answer).destination.paths:
                entry = self._decoder.entry(raw)
                if entry.path is not None and not raw.is_withdraw:
                    neighbor = None if entry.is_local else entry.path.neighbor
                    key = paths.nlri(family, raw.nlri.value)
                    found.setdefault(key, []).append(
                        Known(neighbor, entry.path, best=raw.best, stale=raw.stale)
                    )
        return found

    async def counts(self, family: model.Family) -> tuple[int, int]:
        """How many prefixes and how many paths gobgpd has."""
        question = messages.GetTableRequest(
            table=self._dialect.base, family=messages.Family(afi=family, safi=1)
        )
        answer = await self._call("GetTable", question, messages.GetTableResponse)
        return answer.destinations, answer.paths

    async def change(
        self,
        announced: Iterable[model.Announcement],
        withdrawn: Iterable[tuple[model.Family, model.Nlri]],
    ) -> None:
        """`add` and `delete` for many at once; a refusal may leave some of it done."""
        paths = [originate.path(one, local_as=self._speaker.local_as) for one in announced]
        paths += [originate.withdrawal(*key) for key in withdrawn]
        question = messages.AddPathStreamRequest(table=self._dialect.base, paths=paths)
        with calls.translated(self.target):
            await self._use().push(self._method("AddPathStream"), [question])

    async def add(self, announcement: model.Announcement) -> None:
        """Announce a prefix, or replace what was announced, to all neighbours alike.

        Of the announcement `on_link` does not count: gobgpd has one next hop for all. `prepend`
        reaches neighbours within our own AS too, who take it for a loop.
        """
        path = originate.path(announcement, local_as=self._speaker.local_as)
        await self._call("AddPath", messages.AddPathRequest(table=self._dialect.base, path=path))

    async def delete(self, family: model.Family, key: model.Nlri) -> None:
        """Take a prefix back; one that is not announced is no error."""
        path = originate.withdrawal(family, key)
        question = messages.DeletePathRequest(
            table=self._dialect.base, family=path.family, path=path
        )
        await self._call("DeletePath", question)

    # --- neighbours ----------------------------------------------------------------------------

    async def neighbors(self, *, advertised: bool = False) -> list[model.NeighborStatus]:
        """All neighbours, with their sessions or without.

        Args:
            advertised: count what each was sent; gobgpd goes through its whole table for it.
        """
        found = []
        async for answer in self._stream(
            "ListPeer", messages.ListPeerRequest(advertised=advertised)
        ):
            peer = messages.PeerResponse.FromString(answer).peer
            status = neighbors.status(self._dialect, peer)
            if status is not None:
                found.append(status)
        return found

    async def add_neighbor(self, config: model.NeighborConfig, *, restarting: bool = False) -> None:
        """Add a neighbour. Import rules and `recursive` are no matter of gobgpd's.

        Args:
            config: it.
            restarting: say so to it (RFC 4724 section 4.1).

        Raises:
            errors.EngineError: also `gobgp-unsupported`.
        """
        peer = self._peer(config)
        peer.graceful_restart.local_restarting = restarting and config.graceful_restart
        await self._call("AddPeer", messages.PeerRequest(peer=peer))

    async def updates_sent(self) -> dict[str, int]:
        """How many UPDATEs each neighbour that is up was sent so far."""
        up = list(model.SessionState).index(model.SessionState.ESTABLISHED) + 1
        found = {}
        async for answer in self._stream("ListPeer", messages.ListPeerRequest()):
            state = messages.PeerResponse.FromString(answer).peer.state
            if state.session_state == up:
                found[state.neighbor_address] = state.messages.sent.update
        return found

    def check_neighbor(self, config: model.NeighborConfig) -> None:
        """Raise what `add_neighbor` would, as far as gobgpd need not be asked.

        Raises:
            errors.EngineError: `gobgp-unsupported`.
        """
        self._peer(config)

    def _peer(self, config: model.NeighborConfig) -> Any:
        return neighbors.peer(
            self._dialect,
            config,
            local_as=self._speaker.local_as,
            restart_time=self._restart_time,
        )

    async def delete_neighbor(self, address: model.Address) -> None:
        """Remove a neighbour: Cease "peer de-configured"."""
        await self._call("DeletePeer", messages.DeletePeerRequest(address=str(address)))

    async def reset_neighbor(
        self, address: model.Address, *, soft: bool = False, message: str = ""
    ) -> None:
        """End a session with Cease "administrative reset".

        Args:
            address: whose.
            soft: no: only look again at what the neighbour has sent. gobgpd never asks for it.
            message: shutdown communication (RFC 9003).
        """
        question = messages.ResetPeerRequest(
            address=str(address),
            communication=message,
            soft=soft,
            direction=self._dialect.base + _IN,
        )
        await self._call("ResetPeer", question)

    async def shutdown_neighbor(self, address: model.Address, message: str = "") -> None:
        """End a session with Cease "administrative shutdown"; it comes back by itself."""
        await self._communicate("ShutdownPeer", address, message)

    async def disable_neighbor(self, address: model.Address, message: str = "") -> None:
        """End a session with Cease "administrative shutdown", until it is enabled again."""
        await self._communicate("DisablePeer", address, message)

    async def enable_neighbor(self, address: model.Address) -> None:
        """Let a neighbour that is disabled, or has sent too much, come back."""
        await self._communicate("EnablePeer", address, "")

    async def _communicate(self, method: str, address: model.Address, message: str) -> None:
        question = messages.CommunicationRequest(address=str(address), communication=message)
        await self._call(method, question)

    async def ranges(self) -> dict[model.Prefix, str]:
        """Ranges that `add_range` added, or our file has, with their descriptions."""
        found = {}
        async for answer in self._stream("ListPeerGroup", messages.Nothing()):
            conf = messages.PeerGroupResponse.FromString(answer).group.conf
            if (prefix := neighbors.group_prefix(conf.name)) is not None:
                found[prefix] = conf.description
        return found

    async def add_range(self, config: model.DynamicNeighbors, description: str = "") -> None:
        """Let neighbours of a range connect. gobgpd knows no limit of their number.

        Args:
            config: it.
            description: of their peer group.

        Raises:
            errors.EngineError: also `gobgp-unsupported`.
        """
        group = neighbors.group(
            self._dialect,
            config,
            description=description,
            local_as=self._speaker.local_as,
            restart_time=self._restart_time,
        )
        await self._call("AddPeerGroup", messages.PeerGroupRequest(group=group))
        one = messages.Range(prefix=str(config.prefix), group=group.conf.name)
        await self._call("AddDynamicNeighbor", messages.RangeRequest(range=one))

    async def delete_range(self, prefix: model.Prefix) -> None:
        """Let no more connect, and remove those that did. One that is unknown is no error."""
        name = neighbors.group_name(prefix)
        # gobgpd falls over a range of a group that it does not have.
        groups = [
            messages.PeerGroupResponse.FromString(answer).group.conf.name
            async for answer in self._stream("ListPeerGroup", messages.Nothing())
        ]
        if name not in groups:
            return
        one = messages.Range(prefix=str(prefix), group=name)
        await self._call("DeleteDynamicNeighbor", one)
        async for answer in self._stream("ListPeer", messages.ListPeerRequest()):
            peer = messages.PeerResponse.FromString(answer).peer
            if peer.conf.peer_group == name:
                question = messages.DeletePeerRequest(address=peer.state.neighbor_address)
                await self._call("DeletePeer", question)
        await self._call("DeletePeerGroup", messages.Name(name=name))

    # --- calls -----------------------------------------------------------------------------------

    def _use(self) -> calls.Channel:
        if self._channel is None:
            raise calls.unreachable(self.target, "not connected")
        return self._channel

    def _method(self, name: str) -> str:
        return f"{self._dialect.service}/{name}"

    async def _call(self, name: str, question: Any, answer: Any = messages.Nothing) -> Any:
        with calls.translated(self.target):
            return await self._use().call(self._method(name), question, answer)

    async def _stream(
        self, name: str, question: Any, *, bounded: bool = True
    ) -> AsyncGenerator[bytes, None]:
        timeout = calls.TIMEOUT if bounded else None
        stream = self._use().stream(self._method(name), question, timeout=timeout)
        try:
            with calls.translated(self.target):
                async for answer in stream:
                    yield answer
        finally:
            await stream.aclose()
