"""Fuzz target: whole sessions, from octets that are a `script`, with the tables behind them.

Each script runs twice, with its stream in pieces and whole: both must come to the same.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, session, update
from tests.fuzz import oracle, script
from tests.fuzz.script import Kind
from tests.fuzz.tables import Tables

EBGP, ANY_AS, ADD_PATH, RESTART, ONLY_V4, ONLY_V6, OWN_AS, WIDE_AS = (1 << n for n in range(8))
"""`Script.settings`."""
OUR_AS, THEIR_AS, OUR_WIDE_AS = 65001, 65002, 4200000001
OURS, THEIRS = ipaddress.IPv4Address("192.0.2.1"), ipaddress.IPv4Address("192.0.2.2")
V4, V6 = model.Family.IPV4, model.Family.IPV6
MP_V4, MP_V6, REFRESH, FOUR_OCTET, PATHS, LONG, GRACEFUL, REST = (1 << n for n in range(8))
"""Capabilities of a `GREET`, by bit."""
_HOLD, _KEEPALIVE = (9, 0, 3, 180), (3, 0, 1, 60)
_Result = TypeVar("_Result")


def run(data: bytes) -> None:
    """Run a script.

    Raises:
        AssertionError: a property does not hold.
    """
    read = script.decode(data)
    whole = _quick(read, 0)
    how = read.timing & 15
    if how:
        pieces = _quick(read, how)
        assert pieces.events == whole.events
        assert pieces.sent == whole.sent


def _quick(read: script.Script, how: int) -> Rig:
    """Run it, and again if it was slow: only what is slow every time is."""
    for _ in range(3):
        rig = Rig(read, how)
        for step in read.steps:
            rig.step(step)
        rig.end()
        if rig.spent <= oracle.allowance(rig.octets):
            return rig
    raise AssertionError(f"{rig.octets} octets cost {rig.spent:.3f} s")


def greeting(remote_as: int, abilities: int, hold_time: int = 90) -> bytes:
    """An OPEN, written here and not by the core."""
    values = []
    if abilities & MP_V4:
        values.append((1, b"\0\1\0\1"))
    if abilities & MP_V6:
        values.append((1, b"\0\2\0\1"))
    if abilities & REFRESH:
        values += [(2, b""), (70, b"")]
    if abilities & FOUR_OCTET:
        values.append((65, remote_as.to_bytes(4)))
    if abilities & PATHS:
        values.append((69, b"\0\1\1\3\0\2\1\2"))
    if abilities & LONG:
        values.append((6, b""))
    if abilities & GRACEFUL:
        values.append((64, b"\x40\x78\0\1\1\x80\0\2\1\0"))
    if abilities & REST:
        values += [(5, b"\0\1\0\1\0\2"), (73, b"\1a\1b"), (128, b""), (2, b"odd")]
    encoded = b"".join(bytes((code, len(value))) + value for code, value in values)
    parameter = bytes((2, len(encoded))) + encoded if encoded else b""
    short = remote_as if remote_as < 1 << 16 else 23456
    fixed = b"\4" + short.to_bytes(2) + hold_time.to_bytes(2) + THEIRS.packed
    return framed(oracle.OPEN, fixed + bytes((len(parameter),)) + parameter)


def framed(kind: int, body: bytes) -> bytes:
    """A message with the right length; what is too long for its field is cut."""
    body = body[: 65535 - 19]
    return oracle.MARKER + (19 + len(body)).to_bytes(2) + bytes((kind,)) + body


@dataclasses.dataclass(slots=True)
class _Account:
    """What the session has said so far, as far as it matters for what it may say next."""

    opened: bool = False
    established: bool = False
    closed: session.Closed | None = None
    notified: bool = False
    """We sent a NOTIFICATION."""


class Rig:
    """A session with its clock, its tables, and judges on both sides.

    Args:
        read: for its settings.
        how: the stream is cut, see `script.cuts`.
    """

    def __init__(self, read: script.Script, how: int) -> None:
        bits = read.settings
        self.local_as = OUR_WIDE_AS if bits & WIDE_AS else OUR_AS
        self.remote_as = THEIR_AS if bits & (EBGP | ANY_AS) else self.local_as
        families = {V4, V6} - ({V6} if bits & ONLY_V4 else set())
        families -= {V4} if bits & ONLY_V6 and V6 in families else set()
        neighbor = model.NeighborConfig(
            address=THEIRS,
            remote_as=0 if bits & ANY_AS else self.remote_as,
            hold_time=_HOLD[read.timing >> 4 & 3],
            keepalive=_KEEPALIVE[read.timing >> 6],
            families=frozenset(families),
            add_path=bool(bits & ADD_PATH),
            allow_own_as=int(bool(bits & OWN_AS)),
        )
        restart = capability.GracefulRestart(
            restarted=False, time=30, families=dict.fromkeys(families, True), notification=True
        )
        self.now = 1000.0
        self.how = how
        self.octets = 0
        self.spent = 0.0
        self.events: list[session.Event] = []
        self.sent: list[oracle.Sent] = []
        self.account = _Account()
        self._most: int | None = None
        self._waiting: Iterator[session.Event] | None = None
        self._heard_at = float("-inf")
        """When the engine last said that the neighbour has spoken and waits for us."""
        self.tables = Tables(THEIRS)
        self.session = self._clocked(
            lambda: session.Session(
                model.SpeakerConfig(local_as=self.local_as, router_id=OURS),
                neighbor,
                restart=restart if bits & RESTART else None,
                now=self.now,
                address=OURS,
            )
        )
        self._taken()
        assert [one.kind for one in self.sent] == [oracle.OPEN]

    def _clocked(self, work: Callable[[], _Result]) -> _Result:
        start = time.process_time()
        result = work()
        self.spent += time.process_time() - start
        return result

    def _events(self, told: Iterable[session.Event]) -> list[session.Event]:
        return self._clocked(lambda: list(told))

    # --- steps -------------------------------------------------------------------------

    def step(self, step: script.Step) -> None:
        """Do one step of the script."""
        match step.kind:
            case Kind.PAUSE:
                self._go_on()
                self._most = step.times
            case Kind.GREET:
                self._receive(greeting(self.remote_as, (step.data or b"\xff")[0]))
                self._receive(framed(oracle.KEEPALIVE, b""))
            case Kind.MESSAGE:
                kind, body = (step.data or b"\2")[0], step.data[1:]
                self._receive(framed(kind, body) * step.times)
            case Kind.UPDATE:
                withdrawn, nlri, encoded = script.split_fields(step.data, 2)
                withdrawn *= step.times
                body = len(withdrawn).to_bytes(4)[-2:] + withdrawn
                body += len(encoded).to_bytes(4)[-2:] + encoded + nlri * step.times
                self._receive(framed(oracle.UPDATE, body))
            case Kind.RAW:
                self._receive(step.data * step.times)
            case Kind.TICK:
                self._tick(self.now + int.from_bytes(step.data[:2]) / 10)
            case Kind.DEADLINE:
                if self.session.deadline != float("inf"):
                    self._tick(max(self.now, self.session.deadline))
            case _:
                self._local(step)
        self._taken()

    def _receive(self, octets: bytes) -> None:
        self.octets += len(octets)
        self._go_on()
        now, pieces = self.now, script.cuts(octets, self.how)
        each = (self.session.receive(piece, now) for piece in pieces)
        self._waiting = itertools.chain.from_iterable(each)
        most, self._most = self._most, None
        self._on(self._events(itertools.islice(self._waiting, most)))
        if most is None:
            self._go_on()

    def _go_on(self) -> None:
        """Hear the rest of what was received, unless the session has ended over it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not self.session.closed:
            self._on(self._events(waiting))

    def _tick(self, now: float) -> None:
        self.now = now
        if self._waiting is not None:
            self.session.heard(now)
            self._heard_at = now
        self._on(self._events(self.session.tick(now)))
        # Else the engine would wake it for ever.
        assert self.session.closed or self.session.deadline > now

    def _local(self, step: script.Step) -> None:
        """What our side does."""
        if self.session.closed:
            return
        if step.kind is Kind.CLOSE:
            text = step.data[1:].decode(errors="replace")
            subcode = 1 + (step.data or b"\1")[0] % 10
            self._on([self.session.close(subcode, message.shutdown_communication(text))])
        elif step.kind is Kind.LOST:
            stuck = step.times > 1
            ended = self.session.send_hold_expired() if stuck else self.session.lost("gone")
            self._on([ended])
        elif step.kind is Kind.EXCEEDED:
            self._on([self.session.exceeded(V6 if step.times > 1 else V4)])
        elif self.session.state is model.SessionState.ESTABLISHED:
            self.session.send(*self._announcement(step.times))

    def _announcement(self, times: int) -> Iterable[bytes]:
        agreed, longest = self.session.agreed, self.session.longest
        common = attributes.encode_common(
            as_path=(self.local_as,) * times if self.session.ebgp else (),
            four_octet_as=agreed.four_octet_as,
            med=7,
            local_pref=None if self.session.ebgp else 100,
            communities=(1,) * times,
            large_communities=((1, 2, 3),),
        )
        hop = ipaddress.ip_address("2001:db8::1")
        for family in agreed.families:
            keys = [bytes((32,)) + number.to_bytes(4) for number in range(20 * times)]
            yield from update.announce(
                family,
                keys,
                next_hop=OURS if family is V4 else hop,
                common=common,
                longest=longest,
            )
            yield from update.withdraw(family, keys, longest=longest)
            yield update.end_of_rib(family)
            yield update.route_refresh(family)

    def end(self) -> None:
        """The last words, and that there are none after them."""
        self._go_on()
        idle = self.session.state is model.SessionState.ESTABLISHED and not self.session.hold_time
        self._tick(self.now + 1e6)
        self._taken()
        assert self.session.closed != idle, "a silent neighbour is given up, unless agreed else"
        if idle:
            self._on([self.session.lost("gone")])
        assert list(self.session.receive(greeting(self.remote_as, 0xFF), self.now)) == []
        assert list(self.session.tick(self.now + 1e9)) == []
        assert self.session.take() == b""
        self.tables.check()
        self.tables.forget()
        self.tables.check()
        self.tables.check_gone()

    # --- judges ------------------------------------------------------------------------

    def _on(self, events: Iterable[session.Event]) -> None:
        for event in events:
            account = self.account
            assert account.closed is None, f"{event} after the end"
            match event:
                case session.Opened(identifier):
                    assert not account.opened
                    assert 0 < identifier < 1 << 32
                    account.opened = True
                case session.Closed(reason):
                    assert reason.isprintable()
                    if "Hold Timer" in reason:
                        # Never over our own slowness.
                        assert self.now >= self._heard_at + self.session.hold_time
                    account.closed = event
                case session.Established():
                    assert account.opened
                    assert not account.established
                    account.established = True
                case _:
                    assert account.established
                    self._in_session(event)
            self.events.append(event)
        assert self.session.closed == (self.account.closed is not None)

    def _in_session(self, event: session.Event) -> None:
        assert not isinstance(event, session.Opened | session.Established | session.Closed)
        assert event.family in self.session.families <= self.session.neighbor.families
        match event:
            case session.Learned():
                self._learned(event)
            case session.RefreshBegun(family):
                self.tables.mark_stale([family])
            case session.RefreshEnded(family):
                self.tables.flush_stale(family)
            case session.EndOfRib() | session.RefreshWanted():
                pass

    def _learned(self, event: session.Learned) -> None:
        oracle.check_prefixes(event.family, event.prefixes)
        assert (event.path_id is not None) == (event.family in self.session.agreed.add_path)
        path = event.path
        if path is not None:
            assert path.path_id == (event.path_id or 0)
            assert path.neighbor == THEIRS
            oracle.check_next_hop(event.family, path.next_hop, path.link_local)
            oracle.check_numbers(path)
            assert not event.problem
        else:
            assert not event.refused
        self._clocked(lambda: self.tables.learned(event))

    def _taken(self) -> None:
        """What the session sends is in order (RFC 4271 section 8.2.2)."""
        longest = self.session.longest
        for sent in oracle.read(self._clocked(self.session.take)):
            account = self.account
            assert not account.notified, "a NOTIFICATION is the last word"
            size = 19 + len(sent.body)
            assert size <= (longest if sent.kind == oracle.UPDATE else message.MAX_SIZE)
            match sent.kind:
                case oracle.OPEN:
                    assert not self.sent
                case oracle.NOTIFICATION:
                    assert account.closed is not None
                    assert account.closed.reason.startswith("sent NOTIFICATION")
                    account.notified = True
                case oracle.KEEPALIVE:
                    assert account.opened
                case _:
                    assert account.established
            self.sent.append(sent)
        ended = self.account.closed
        if ended is not None and ended.reason.startswith("sent NOTIFICATION"):
            assert self.account.notified
