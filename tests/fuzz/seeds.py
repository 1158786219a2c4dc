"""Makes the seeds of the corpus: what our own encoders write, and known malice.

python -m tests.fuzz seeds
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, update
from tests.fuzz import corpus, oracle, script, sessions
from tests.fuzz.messages import EBGP, EXTENDED, FOUR_OCTET_AS, PATHS_V4, PATHS_V6
from tests.fuzz.script import Kind, Step, fields

V4, V6 = model.Family.IPV4, model.Family.IPV6
HOP, HOP6 = ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("2001:db8::2")
LINK_LOCAL = ipaddress.ip_address("fe80::2")
KEYS = [b"\0", b"\x08\x0a", b"\x10\x0a\x02", b"\x19\x0a\x02\x03\x80", b"\x20\x0a\x02\x03\x04"]
KEYS6 = [b"\0", b"\x10\x20\x01", b"\x40\x20\x01\x0d\xb8\0\0\0\1", b"\x80" + HOP6.packed]
BOTH = PATHS_V4 | PATHS_V6
ALL = 0xFF


def write() -> None:
    """Write them."""
    of_messages = {name: data for name, data in _messages()}  # noqa: C416 - names must be unique
    of_sessions = {name: one.encode() for name, one in _sessions()}
    for target, inputs in (("messages", of_messages), ("sessions", of_sessions)):
        corpus.save(target, "seeds", inputs, "Made by tests/fuzz/seeds.py; not to be edited.")


def common(*, four_octet_as: bool = True, ebgp: bool = True, many: int = 1) -> bytes:
    """All attributes that we send."""
    return attributes.encode_common(
        as_path=(sessions.THEIR_AS, 4200000001)[: 2 * ebgp] * many,
        four_octet_as=four_octet_as,
        med=17,
        local_pref=None if ebgp else 200,
        communities=(0xFFFF0000, 65001 << 16 | 7) * many,
        large_communities=((65001, 1, 2), (0, 0xFFFFFFFF, 3)) * many,
    )


def received() -> bytes:
    """All attributes that we know and do not send."""
    parts = (
        (attributes.ATOMIC_AGGREGATE, b"", 0x40),
        (attributes.AGGREGATOR, struct.pack("!I4s", 65002, HOP.packed), 0xC0),
        (attributes.ORIGINATOR_ID, b"\1\1\1\1", 0x80),
        (attributes.CLUSTER_LIST, b"\2\2\2\2\3\3\3\3", 0x80),
        (attributes.EXTENDED_COMMUNITIES, b"\0\2\xfd\xea\0\0\0\1", 0xC0),
        (attributes.AS4_PATH, struct.pack("!BBI", 2, 1, 4200000001), 0xC0),
        (attributes.AS4_AGGREGATOR, struct.pack("!I4s", 4200000001, HOP.packed), 0xC0),
        (35, struct.pack("!I", 65003), 0xC0),  # OTC, RFC 9234: unknown to us
        (26, b"\1\0\x0b" + bytes(8), 0x80),  # AIGP, RFC 7311: unknown to us
    )
    return b"".join(attributes.encode(code, value, flags) for code, value, flags in parts)


def _body(octets: bytes) -> bytes:
    return octets[oracle.HEADER :]


def _input(decoder: int, modes: int, data: bytes) -> bytes:
    return bytes((decoder, modes)) + data


def _with_ids(keys: list[bytes]) -> bytes:
    return b"".join((7 + n % 3).to_bytes(4) + key for n, key in enumerate(keys))


# --- single messages ------------------------------------------------------------------


def _messages() -> Iterator[tuple[str, bytes]]:
    yield from _updates()
    yield from _malformed()
    offers = {
        "none": capability.Capabilities(),
        "all": capability.Capabilities(
            families=frozenset((V4, V6)),
            four_octet_as=4200000001,
            route_refresh=True,
            enhanced_refresh=True,
            extended_message=True,
            extended_next_hop=True,
            receive_paths=frozenset((V4, V6)),
            send_paths=frozenset((V6,)),
            graceful_restart=capability.GracefulRestart(
                restarted=True, time=120, families={V4: True, V6: False}, notification=True
            ),
        ),
    }
    for name, offer in offers.items():
        opening = message.Open(
            my_as=65002, hold_time=9, identifier=int(HOP), parameters=offer.encode()
        )
        yield f"open-{name}", _input(2, 0, _body(opening.encode()))
        yield f"capabilities-{name}", _input(3, 0, offer.encode())
    long = message.Open(my_as=1, hold_time=0, identifier=1, parameters=b"\x80\xfe" + bytes(254))
    yield "open-long-parameters", _input(2, 0, _body(long.encode()))
    split = b"\4\xfd\xea\0\x09\xc0\0\2\2\x0e\2\6\1\4\0\1\0\1\2\4\2\0\x46\0"
    yield "open-a-parameter-each", _input(2, 0, split)
    yield "open-bird-like", _input(2, 0, _body(sessions.greeting(65002, ALL)))
    for size in (0, 5):
        refresh = message.frame(message.ROUTE_REFRESH, bytes(4 + size))
        stream = message.frame(message.KEEPALIVE) * 2 + refresh + long.encode()
        for modes in (0, EXTENDED, 1 << 5, 4 << 5, 6 << 5):
            yield f"stream-{size}-{modes:02x}", _input(1, modes, stream)
    yield "stream-long", _input(1, EXTENDED, message.frame(message.UPDATE, bytes(5000)))
    text = message.shutdown_communication("bye – until \u2603")
    for code, subcode, data in (
        (6, 2, text),
        (6, 9, b"\6\2" + text),
        (6, 1, bytes(7)),
        (2, 7, b""),
    ):
        yield f"notification-{code}-{subcode}", _input(4, 0, bytes((code, subcode)) + data)
    for number, key in enumerate((*KEYS, *KEYS6)):
        yield f"key-{number}", _input(5, 0, key)


def _updates() -> Iterator[tuple[str, bytes]]:
    for modes in (0, EBGP, FOUR_OCTET_AS, EBGP | FOUR_OCTET_AS):
        attrs = common(four_octet_as=bool(modes & FOUR_OCTET_AS), ebgp=bool(modes & EBGP))
        (plain,) = update.announce(V4, KEYS, next_hop=HOP, common=attrs)
        (six,) = update.announce(V6, KEYS6, next_hop=HOP6, common=attrs, link_local=LINK_LOCAL)
        (mixed,) = update.announce(V4, KEYS, next_hop=HOP6, common=attrs + received())
        for name, octets in (("v4", plain), ("v6", six), ("v4-by-v6", mixed)):
            yield f"announce-{name}-{modes:02x}", _input(0, modes, _body(octets))
    for family, keys in ((V4, KEYS), (V6, KEYS6)):
        (octets,) = update.withdraw(family, keys)
        yield f"withdraw-{family.name.lower()}", _input(0, 0, _body(octets))
        yield f"end-of-rib-{family.name.lower()}", _input(0, 0, _body(update.end_of_rib(family)))
    reach = struct.pack("!HBB", V6, 1, 16) + HOP6.packed + b"\0" + _with_ids(KEYS6)
    both = attributes.encode(attributes.MP_REACH_NLRI, reach, 0x80)
    unreach = struct.pack("!HB", V6, 1) + _with_ids(KEYS6[1:])
    both += attributes.encode(attributes.MP_UNREACH_NLRI, unreach, 0x80)
    whole = both + common() + attributes.encode(attributes.NEXT_HOP, HOP.packed, 0x40) + received()
    routes = _with_ids(KEYS)
    body = struct.pack("!H", len(routes)) + routes + struct.pack("!H", len(whole)) + whole + routes
    yield "add-path-all", _input(0, BOTH | FOUR_OCTET_AS | EBGP, body)
    many = common(many=60)
    (octets,) = update.announce(V4, KEYS, next_hop=HOP, common=many, longest=65535)
    yield "long-attributes", _input(0, FOUR_OCTET_AS | EBGP, _body(octets))


def _malformed() -> Iterator[tuple[str, bytes]]:
    """One fault each, of those that RFC 7606 tells apart."""
    path = struct.pack("!BBI", 2, 1, sessions.THEIR_AS)
    good = {1: (0x40, b"\0"), 2: (0x40, path), 3: (0x40, HOP.packed)}
    faults: dict[str, dict[int, tuple[int, bytes] | None]] = {
        "no-origin": {1: None},
        "no-as-path": {2: None},
        "no-next-hop": {3: None},
        "origin-3": {1: (0x40, b"\3")},
        "origin-long": {1: (0x40, b"\0\0")},
        "origin-optional": {1: (0xC0, b"\0")},
        "path-cut": {2: (0x40, path[:-1])},
        "path-empty-segment": {2: (0x40, b"\2\0" + path)},
        "path-segment-5": {2: (0x40, b"\5" + path[1:])},
        "path-as-0": {2: (0x40, b"\2\1\0\0\0\0")},
        "path-confederation": {2: (0x40, b"\3" + path[1:])},
        "path-set": {2: (0x40, path + b"\1\2" + path[2:] * 2)},
        "next-hop-short": {3: (0x40, b"\xc0\0\2")},
        "med-short": {4: (0x80, b"\0")},
        "local-pref-long": {5: (0x40, bytes(5))},
        "communities-odd": {8: (0xC0, bytes(5))},
        "large-communities-odd": {32: (0xC0, bytes(13))},
        "extended-communities-odd": {16: (0xC0, bytes(9))},
        "cluster-list-empty": {10: (0x80, b"")},
        "well-known-unknown": {99: (0x40, b"x")},
        "reach-short": {14: (0x80, b"\0\2\1\x20")},
        "reach-hop-5": {14: (0x80, b"\0\1\1\5" + bytes(6))},
        "reach-other-family": {14: (0x80, b"\x40\4\x47\4" + bytes(9))},
        "unreach-short": {15: (0x80, b"\0")},
        "unreach-bad-length": {15: (0x80, b"\0\2\1\x81" + bytes(17))},
    }
    for name, fault in faults.items():
        attrs = {**good, **fault}
        encoded = b"".join(
            attributes.encode(code, value[1], value[0]) for code, value in attrs.items() if value
        )
        body = b"\0\0" + len(encoded).to_bytes(2) + encoded + KEYS[2]
        for modes in (FOUR_OCTET_AS, FOUR_OCTET_AS | EBGP):
            yield f"bad-{name}-{modes:02x}", _input(0, modes, body)
    yield "bad-lengths", _input(0, 0, b"\0\5\1\2")
    yield "bad-attribute-length", _input(0, 0, b"\0\0\0\4\x40\1\xff\0")
    yield "bad-twice", _input(0, 0, b"\0\0\0\x10" + b"\x80\x0f\3\0\2\1" * 2 + b"\x40\1\1\0")


# --- whole sessions -------------------------------------------------------------------


def _announce(keys: list[bytes], *, times: int = 1, extra: bytes = b"", ids: bool = False) -> Step:
    attrs = attributes.encode(1, b"\0", 0x40)
    attrs += attributes.encode(2, struct.pack("!BBI", 2, 1, sessions.THEIR_AS), 0x40)
    attrs += attributes.encode(3, HOP.packed, 0x40) + extra
    nlri = _with_ids(keys) if ids else b"".join(keys)
    return Step(Kind.UPDATE, fields(b"", nlri, attrs), times)


def _sessions() -> Iterator[tuple[str, script.Script]]:
    withdraw = Step(Kind.UPDATE, fields(b"".join(KEYS), b"", b""))
    ends = [Step(Kind.MESSAGE, b"\2" + _body(update.end_of_rib(family))) for family in (V4, V6)]
    refreshes = [
        Step(Kind.MESSAGE, b"\5" + struct.pack("!HBB", family, subtype, 1))
        for family in (V4, V6)
        for subtype in (1, 0, 2)
    ]
    reach = attributes.encode(
        14, struct.pack("!HBB", V6, 1, 16) + HOP6.packed + b"\0" + b"".join(KEYS6), 0x80
    )
    life = (
        Step(Kind.GREET, bytes((ALL & ~sessions.PATHS,))),
        Step(Kind.SEND),
        *(_announce(KEYS), _announce(KEYS, extra=reach + received()), withdraw, *ends),
        *(Step(Kind.DEADLINE), *refreshes, _announce([KEYS[2]]), Step(Kind.SEND, times=4)),
    )
    stop = message.shutdown_communication("maintenance")
    last: dict[str, Step] = {
        "close": Step(Kind.CLOSE, b"\1bye"),
        "lost": Step(Kind.LOST),
        "stuck": Step(Kind.LOST, times=2),
        "exceeded": Step(Kind.EXCEEDED),
        "silence": Step(Kind.TICK, b"\xff\xff"),
        "notified": Step(Kind.MESSAGE, b"\3\6\2" + stop),
        "garbage": Step(Kind.RAW, b"GET / HTTP/1.1\r\n\r\n", 4),
    }
    for number, (name, step) in enumerate(last.items()):
        settings = (sessions.EBGP, sessions.RESTART, sessions.EBGP | sessions.RESTART)[number % 3]
        yield f"life-{name}", script.Script(settings, number * 3, (*life, step))
    several = (
        Step(Kind.GREET, bytes((ALL,))),
        *(_announce(KEYS, ids=True), _announce(KEYS[::-1], ids=True), _announce(KEYS, ids=True)),
        Step(Kind.UPDATE, fields(_with_ids(KEYS[1:]), b"", b"")),
    )
    yield "add-path", script.Script(sessions.EBGP | sessions.ADD_PATH, 2, several)
    long = (Step(Kind.GREET, bytes((ALL & ~sessions.PATHS,))), _announce(KEYS * 4, times=128))
    yield "extended-message", script.Script(sessions.EBGP, 14, long)
    flood = Step(Kind.MESSAGE, b"\4", 128)
    yield "keepalives", script.Script(sessions.EBGP, 7, (Step(Kind.GREET, b"\3"), flood))
    yield (
        "old-speaker",
        script.Script(sessions.EBGP | sessions.WIDE_AS, 0, (Step(Kind.GREET, b"\0"),)),
    )
    for settings in (sessions.ANY_AS, sessions.ONLY_V4, sessions.ONLY_V6, sessions.OWN_AS):
        yield f"settings-{settings:02x}", script.Script(settings, 0x50, life)
    opening = sessions.greeting(sessions.THEIR_AS, ALL)
    parts = [Step(Kind.RAW, opening[:30]), Step(Kind.TICK, b"\0\x64"), Step(Kind.RAW, opening[30:])]
    own = sessions.OURS.packed
    loops = (
        attributes.encode(attributes.ORIGINATOR_ID, own, 0x80),
        attributes.encode(attributes.CLUSTER_LIST, bytes(4) + own, 0x80),
    )
    inside = (Step(Kind.GREET, b"\xef"), *(_announce(KEYS, extra=loop) for loop in loops))
    yield "loops", script.Script(0, 0, inside)
    late = (
        *(Step(Kind.GREET, b"\xef"), Step(Kind.PAUSE), _announce(KEYS)),
        *(Step(Kind.TICK, b"\0\xc8"), Step(Kind.SEND), Step(Kind.MESSAGE, b"\4")),
    )
    yield "we-are-late", script.Script(sessions.EBGP, 0, late)
    twice = Step(Kind.RAW, sessions.framed(2, b"\0\4\x18\x0a\1\1\0\0"), 2)
    busy = (Step(Kind.GREET, b"\xef"), Step(Kind.PAUSE), twice, Step(Kind.TICK, b"\0\xc8"))
    too_late = (*busy, Step(Kind.PAUSE), Step(Kind.TICK, b"\0\1"))
    yield "we-are-too-late", script.Script(sessions.EBGP, 0, too_late)
    again = (*busy, Step(Kind.MESSAGE, b"\4"), Step(Kind.TICK, b"\0\1"))
    yield "we-are-late-and-go-on", script.Script(sessions.EBGP, 0, again)
    yield "closed-while-late", script.Script(sessions.EBGP, 0, (*busy, Step(Kind.CLOSE, b"\1")))
    yield "slow-open", script.Script(sessions.EBGP, 0, (*parts, Step(Kind.DEADLINE)))
    yield "no-open", script.Script(0, 0, (Step(Kind.MESSAGE, b"\4"),))
    yield "two-opens", script.Script(sessions.EBGP, 0, (Step(Kind.GREET, b"\xff"),) * 2)
