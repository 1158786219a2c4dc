"""What the greediest streams cost: time and memory per octet, from the socket into the tables."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable

import pytest

from bgp_ipvlan.bgp import attributes
from tests.fuzz import oracle, script, seeds, sessions

SIZE = 1 << 16
"""Octets of a stream, about."""
ROOM = 3900
"""Octets of NLRI in an UPDATE."""
MICROSECONDS = 30
"""Per octet. Good tables cost a tenth of one; the dearest stream, many paths to one prefix that
change all the time, costs a third of this bound."""
MEMORY = 64
"""Octets kept for each octet received. A host route, five octets, is about 27 times that."""
PATHS = script.Script(sessions.EBGP | sessions.ADD_PATH)
PLAIN = script.Script(sessions.EBGP)


def _attributes(as_path: tuple[int, ...] = (sessions.THEIR_AS,), more: bytes = b"") -> bytes:
    segment = struct.pack(f"!BB{len(as_path)}I", 2, len(as_path), *as_path)
    parts = ((1, b"\0"), (2, segment), (3, seeds.HOP.packed))
    return b"".join(attributes.encode(code, value, 0x40) for code, value in parts) + more


def _update(nlri: bytes, attrs: bytes, withdrawn: bytes = b"") -> bytes:
    body = len(withdrawn).to_bytes(2) + withdrawn + len(attrs).to_bytes(2) + attrs + nlri
    return sessions.framed(oracle.UPDATE, body)


def _packed(each: Iterable[bytes], attrs: bytes) -> list[bytes]:
    parts = [b""]
    for one in each:
        if len(parts[-1]) + len(one) > ROOM:
            parts.append(b"")
        parts[-1] += one
    return [_update(part, attrs) for part in parts]


def _host(number: int) -> bytes:
    return b"\x20" + number.to_bytes(4)


def _large(number: int) -> bytes:
    """An attribute of 900 numbers that nobody shares."""
    first = 1000 * (number + 1)
    value = struct.pack("!900I", *range(first, first + 900))
    return attributes.encode(attributes.LARGE_COMMUNITIES, value, 0xC0)


def _sets(number: int) -> bytes:
    """An AS_PATH of 600 segments."""
    path = b"".join(struct.pack("!BBI", 1, 1, 300 + number + k) for k in range(600))
    parts = ((1, b"\0"), (2, path), (3, seeds.HOP.packed))
    return b"".join(attributes.encode(code, value, 0x40) for code, value in parts)


STREAMS: dict[str, tuple[script.Script, list[bytes]]] = {
    "host-routes": (PLAIN, _packed(map(_host, range(SIZE // 5)), _attributes())),
    "one-route-again": (PLAIN, [_update(b"\0" * ROOM, _attributes())] * (SIZE // ROOM)),
    "an-update-each": (
        PLAIN,
        [_update(_host(n), _attributes((65002, n + 1))) for n in range(SIZE // 55)],
    ),
    "own-as-in-path": (
        PLAIN,
        [_update(_host(n), _attributes((65002, 65001, n + 1))) for n in range(SIZE // 59)],
    ),
    "large-communities": (
        PLAIN,
        [_update(_host(n), _attributes(more=_large(n))) for n in range(SIZE // ROOM)],
    ),
    "segments": (PLAIN, [_update(_host(n), _sets(n)) for n in range(SIZE // ROOM)]),
    "flap": (
        PLAIN,
        [_update(_host(1), _attributes()), _update(b"", b"", _host(1))] * (SIZE // 85),
    ),
    "withdrawn-unknown": (PLAIN, [_update(b"", b"", _host(n)) for n in range(SIZE // 28)]),
    "keepalives": (PLAIN, [sessions.framed(oracle.KEEPALIVE, b"")] * (SIZE // 19)),
    "refreshes": (PLAIN, [sessions.framed(oracle.ROUTE_REFRESH, b"\0\1\0\1")] * (SIZE // 23)),
    "identifiers": (
        PATHS,
        _packed((n.to_bytes(4) + _host(n) for n in range(SIZE // 9)), _attributes()),
    ),
    "identifiers-of-one": (
        PATHS,
        _packed((n.to_bytes(4) + b"\0" for n in range(SIZE // 5)), _attributes()),
    ),
    "identifiers-changing": (
        PATHS,
        [
            _update(b"".join(k.to_bytes(4) + b"\0" for k in range(64)), _attributes((65002, n + 1)))
            for n in range(SIZE // 370)
        ],
    ),
    "octet-by-octet": (
        script.Script(sessions.EBGP, timing=1),
        [sessions.framed(oracle.UPDATE, b"\0\0\xff\x00" + bytes(65280))] * max(SIZE // 65303, 1),
    ),
}


@pytest.fixture(scope="module", params=STREAMS)
def stream(request: pytest.FixtureRequest) -> tuple[script.Script, bytes]:
    """A greedy stream, and what must be negotiated for it."""
    settings, parts = STREAMS[request.param]
    return settings, b"".join(parts)


def _greeted(settings: script.Script) -> sessions.Rig:
    rig = sessions.Rig(settings, settings.timing)
    rig.step(script.Step(script.Kind.GREET, b"\xff"))
    return rig


def test_time(stream: tuple[script.Script, bytes]) -> None:
    """No octet costs more than some microseconds, whatever it says."""
    settings, octets = stream
    spent = []
    for _ in range(3):
        rig = _greeted(settings)
        before = rig.spent
        rig.step(script.Step(script.Kind.RAW, octets))
        assert rig.octets > len(octets) > SIZE * 0.7
        spent.append((rig.spent - before) / len(octets) * 1e6)
        if spent[-1] < MICROSECONDS:
            return
    pytest.fail(f"{min(spent):.1f} µs per octet")


def test_memory(stream: tuple[script.Script, bytes]) -> None:
    """What is kept is in proportion to what came, and of what is not kept nothing stays."""
    settings, octets = stream
    rig = _greeted(settings)
    tracemalloc.start()
    try:
        # As from a socket: events are gone when the next octets come.
        for start in range(0, len(octets), 4096):
            rig.step(script.Step(script.Kind.RAW, octets[start : start + 4096]))
            rig.events.clear()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept <= MEMORY * len(octets)
    assert peak <= kept + (1 << 20)
    if not rig.tables.rib.received(rig.tables.neighbor):
        assert kept < 1 << 17
