"""gobgpd's stream of events, made into rows: one call that tells of neighbours and best paths.

What the two versions send, from their sources and seen on the wire. First of all comes the table
of best paths, in one message, also if it is empty. Then a message for each change:

- the new best path, or the old one as withdrawn; nothing where the best is as before;
- with use-multiple-paths, version 3: all paths that are equally good; when the last one goes, it as
  withdrawn;
- with use-multiple-paths, version 4: only the paths that are new or other, and, as withdrawn, those
  that are no longer among the equally good ones.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import AsyncGenerator, AsyncIterator

from bgp_ipvlan import model
from bgp_ipvlan.engines.gobgp import dialects, neighbors, paths, wire
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages

SLICE = 500
"""Paths decoded in one turn of the loop: some 4 ms."""
_SIZE = 1 << 18
"""Octets decoded in one turn. A path has 100 to 300, but an IPv6 one of GoBGP 3 names all the
prefixes that came in the same UPDATE."""
_PEER, _TABLE = 2, 3
_BATCH = 5_000
"""Paths that version 4 puts into one message at most, and then one more. The last of a table has no
more than that, if need be none. Version 3 sends it all in one."""


class Kind(enum.Enum):
    """What rows stand for."""

    SNAPSHOT = enum.auto()
    """The table as it is; `more` is false on its last slice."""
    SET = enum.auto()
    """Each prefix has exactly these paths now. No rows: something changed, and not the best."""
    DELTA = enum.auto()
    """Single paths came, or went. No rows: as above."""


class PeerKind(enum.IntEnum):
    """Why a neighbour is told of."""

    INIT = 1
    """As it was when we began to listen."""
    END_OF_INIT = 2
    """All were told."""
    STATE = 3
    """Its session changed."""


_KINDS = {kind.value: kind for kind in PeerKind}
"""A neighbour that is deleted has none of these."""


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A neighbour's session."""

    kind: PeerKind
    address: model.Address | None
    """None with END_OF_INIT."""
    state: model.SessionState
    shut: bool = False
    """By the administrator."""
    detail: str = ""
    """Why it went down, where gobgpd says so (version 4)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """A part of the table."""

    kind: Kind
    rows: list[paths.Row] = dataclasses.field(default_factory=list)
    """Of SNAPSHOT and SET."""
    changes: list[paths.Change] = dataclasses.field(default_factory=list)
    """Of DELTA."""
    more: bool = False
    """There is more of the same message."""


def request(dialect: dialects.Dialect, *, table: bool) -> messages.WatchEventRequest:
    """For all changes, and the table before them."""
    best = messages.WatchEventRequest.Table.Filter(type=dialect.base, init=table)
    return messages.WatchEventRequest(
        peer=messages.Nothing(),
        table=messages.WatchEventRequest.Table(filters=[best]),
        batch_size=_BATCH,
    )


async def events(
    dialect: dialects.Dialect,
    decoder: paths.Decoder,
    stream: AsyncIterator[bytes],
    *,
    multipath: bool,
    table: bool,
) -> AsyncGenerator[Peer | Rows, None]:
    """What the messages say.

    Args:
        table: the first is the table.
        dialect: the version.
        decoder: of this connection.
        stream: its messages.
        multipath: whether gobgpd has use-multiple-paths.
    """
    later = Kind.DELTA if multipath and dialect is dialects.V4 else Kind.SET
    kind = Kind.SNAPSHOT if table else later
    before: list[paths.Row] = []
    async for message in stream:
        for number, start, end in wire.spans(message, 0, len(message)):
            if number == _PEER:
                yield _peer(dialect, message[start:end])
            elif number == _TABLE and kind is Kind.SNAPSHOT:
                count = 0
                for slice_ in wire.slices(message, start, end, count=SLICE, size=_SIZE):
                    raws = dialect.table.FromString(slice_).paths
                    count += len(raws)
                    rows = decoder.rows(raws)
                    rows = decoder.join(before[0], rows) if before else rows
                    # What comes next may go on with the last prefix of this.
                    before = rows[-1:]
                    yield Rows(kind, rows[:-1], more=True)
                    await asyncio.sleep(0)
                if dialect is dialects.V4 and count == _BATCH + 1:
                    continue
                yield Rows(kind, before)
                kind, before = later, []
            elif number == _TABLE:
                yield _changes(dialect, decoder, kind, message[start:end])


def _peer(dialect: dialects.Dialect, data: bytes) -> Peer:
    event = messages.PeerEvent.FromString(data)
    state = event.peer.state
    return Peer(
        _KINDS.get(event.type, PeerKind.STATE),
        paths.source(state.neighbor_address),
        neighbors.state(state.session_state),
        shut=state.admin_state - dialect.base == 1,
        detail=state.disconnect_message,
    )


def _changes(dialect: dialects.Dialect, decoder: paths.Decoder, kind: Kind, data: bytes) -> Rows:
    found = dialect.table.FromString(data).paths
    if kind is Kind.DELTA:
        return Rows(kind, changes=decoder.changes(found))
    return Rows(kind, decoder.rows(found))
