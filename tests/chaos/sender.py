"""A scripted neighbour in our AS, that keeps exact account of what it has said.

It connects to the daemon, which is passive towards it. A thread reads and says KEEPALIVE, so that
a test may take its time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import select
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from bgp_ipvlan import model
from bgp_ipvlan.bgp import attributes, capability, message, update
from lab import namespace
from tests.chaos import witness
from tests.chaos.oracle import Address, Path, Prefix

AS = 64512
HOLD_TIME = 180
"""Seconds: longer than the daemon is ever stopped, on a slow machine too."""
LONG, SHORT = 4000, 1
"""Restart times: longer than any run, and over before anybody looks."""
Key = tuple[Prefix, int]
"""Prefix and path identifier, which is 0 without ADD-PATH."""
_LOOK = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Saying:
    """The attributes of an announcement."""

    next_hop: Address
    link_local: Address | None = None
    local_pref: int = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Restart:
    """How it takes part in graceful restart."""

    time: int = 0
    """Seconds; 0 is not at all."""
    notification: bool = False
    """Also over a NOTIFICATION (RFC 8538)."""
    preserved: bool = True
    """The forwarding state bit of its OPEN."""

    @property
    def keeps(self) -> bool:
        """Whether the daemon keeps its routes when the connection breaks."""
        return self.time >= LONG


class Connection:
    """One TCP connection with its session, as far as a sender cares.

    Args:
        sock: connected.
        opening: our OPEN.
        hold_time: seconds; of both sides, since we ask for less than the daemon.
    """

    def __init__(self, sock: socket.socket, opening: bytes, hold_time: int) -> None:
        self.established = threading.Event()
        self.closed = threading.Event()
        self.reason = ""
        self.mute = False
        """Says no KEEPALIVE any more."""
        self._socket = sock
        self._interval = hold_time / 3
        self._stop = False
        self._lock = threading.Lock()
        self._framer = message.Framer()
        self.say(opening)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def say(self, data: bytes) -> None:
        """Send; what a dead connection does not take is lost."""
        with self._lock:
            try:
                self._socket.sendall(data)
            except OSError as error:
                self._end(str(error))

    def close(self, *, reset: bool = False) -> None:
        """End it: by FIN, or by RST. Twice is fine."""
        self._stop = True
        self._thread.join()
        if reset:
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()
        self._end("closed by us")

    def _end(self, reason: str) -> None:
        if not self.closed.is_set():
            self.reason = self.reason or reason
            self.closed.set()

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while not self._stop and not self.closed.is_set():
            if time.monotonic() >= due and not self.mute:
                due = time.monotonic() + self._interval
                self.say(message.frame(message.KEEPALIVE))
            if not select.select([self._socket], [], [], _LOOK)[0]:
                continue
            try:
                data = self._socket.recv(1 << 16)
            except OSError as error:
                self._end(str(error))
                return
            if not data:
                self._end("closed by the daemon")
            for kind, body in self._framer.feed(data):
                self._message(kind, body)

    def _message(self, kind: int, body: bytes) -> None:
        if kind == message.OPEN:
            self._framer.longest = message.EXTENDED_SIZE
            self.say(message.frame(message.KEEPALIVE))
        elif kind == message.KEEPALIVE:
            self.established.set()
        elif kind == message.NOTIFICATION:
            self.reason = message.parse_notification(body).text


class Sender:
    """See the module.

    Args:
        host: where it is.
        address: its own.
        daemon: the daemon's.
        router_id: its BGP identifier.
        add_path: it says several paths for a prefix (RFC 7911).
    """

    def __init__(
        self,
        host: namespace.Host,
        address: str,
        daemon: str,
        *,
        router_id: str,
        add_path: bool = False,
    ) -> None:
        self.address = ipaddress.ip_address(address)
        self.daemon = ipaddress.ip_address(daemon)
        self.add_path = add_path
        self.table: dict[Key, Saying] = {}
        """What it says, or will when there is a session."""
        self.held: dict[Key, Saying] = {}
        """What the daemon must have of it."""
        self.restart = Restart()
        self.away = False
        """It is not to connect for now."""
        self._host = host
        self._router_id = int(ipaddress.IPv4Address(router_id))
        self._connection: Connection | None = None
        self._old: list[Connection] = []
        """Left open when it came back on a new one."""

    @property
    def up(self) -> bool:
        """Whether it has a session, as far as it knows."""
        return self._connection is not None and not self._connection.closed.is_set()

    def paths(self) -> Iterator[tuple[Prefix, Path]]:
        """What the daemon must have, for the oracle."""
        for (prefix, _), said in self.held.items():
            yield (
                prefix,
                Path(self.address, said.next_hop, said.link_local, said.local_pref, self.daemon),
            )

    # --- saying -------------------------------------------------------------------------

    def announce(self, keys: Collection[Key], said: Saying) -> None:
        """Say some prefixes with the same attributes."""
        self._record(dict.fromkeys(keys, said))
        if self.up:
            self._say(_announcements(keys, said, self.add_path))

    def withdraw(self, keys: Collection[Key]) -> None:
        """Take some back."""
        for table in (self.table, self.held) if self.up else (self.table,):
            for key in keys:
                table.pop(key, None)
        if self.up:
            self._say(_withdrawals(keys, self.add_path))

    def _record(self, said: dict[Key, Saying]) -> None:
        self.table |= said
        if self.up:
            self.held |= said

    def _say(self, messages: Iterable[bytes]) -> None:
        assert self._connection is not None
        self._connection.say(b"".join(messages))

    # --- sessions -----------------------------------------------------------------------

    def connect(self, *, hold_time: int = HOLD_TIME, patience: float = 5.0) -> bool:
        """One attempt: a session, and the whole table on it; False if there was none."""
        try:
            sock = witness.inside(self._host, self._dial)
        except OSError:
            return False
        connection = Connection(sock, self._opening(hold_time), hold_time)
        deadline = time.monotonic() + patience
        while not connection.established.wait(_LOOK):
            if connection.closed.is_set() or time.monotonic() > deadline:
                connection.close(reset=True)
                return False
        if self._connection is not None:
            self._connection.close()
        self._connection = connection
        groups: dict[Saying, list[Key]] = defaultdict(list)
        for key, said in self.table.items():
            groups[said].append(key)
        for said, keys in groups.items():
            self._say(_announcements(keys, said, self.add_path))
        self._say(map(update.end_of_rib, model.Family))
        self.held = dict(self.table)
        return True

    def _dial(self) -> socket.socket:
        family = socket.AF_INET6 if self.address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(2.0)
            sock.bind((str(self.address), 0))
            sock.connect((str(self.daemon), 179))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(120.0)
        except OSError:
            sock.close()
            raise
        return sock

    def _opening(self, hold_time: int) -> bytes:
        offer = capability.Capabilities(
            families=frozenset(model.Family),
            four_octet_as=AS,
            extended_next_hop=True,
            send_paths=frozenset(model.Family) if self.add_path else frozenset(),
            graceful_restart=capability.GracefulRestart(
                restarted=False,
                time=self.restart.time,
                families=dict.fromkeys(model.Family, self.restart.preserved),
                notification=self.restart.notification,
            )
            if self.restart.time
            else None,
        )
        return message.Open(
            my_as=AS, hold_time=hold_time, identifier=self._router_id, parameters=offer.encode()
        ).encode()

    def probe(self) -> None:
        """Find out whether the connection is dead."""
        self._say([message.frame(message.KEEPALIVE)])

    def reset(self) -> None:
        """TCP RST, as when its machine is gone and back."""
        self._lost(kept=self.restart.keeps, reset=True)

    def cease(self) -> None:
        """NOTIFICATION: it is being reset."""
        self._say([message.notification(message.ProtocolError(message.CEASE, 4))])
        self._lost(kept=self.restart.keeps and self.restart.notification)

    def silence(self, *, timeout: float = 60.0) -> None:
        """Say nothing until the daemon ends the session over it.

        Raises:
            namespace.LabError: it does not, in `timeout` seconds.
        """
        assert self._connection is not None
        self._connection.mute = True
        if not self._connection.closed.wait(timeout):
            raise namespace.LabError(f"the session with {self.address} outlives its hold time")
        assert "Hold Timer Expired" in self._connection.reason, self._connection.reason
        self._lost(kept=self.restart.keeps and self.restart.notification)

    def forsake(self) -> None:
        """Forget the connection without closing it, and come back on a new one."""
        assert self._connection is not None
        self._connection.mute = True
        self._old.append(self._connection)
        self._connection = None

    def cut(self) -> None:
        """The daemon has lost its side: link or address are gone."""
        self._lost(kept=self.restart.keeps, reset=True)

    def forgotten(self) -> None:
        """The daemon is another one, and knows nothing."""
        self._lost(kept=False, reset=True)

    def close(self) -> None:
        """The test is over."""
        for one in (*self._old, *([self._connection] if self._connection else [])):
            one.close(reset=True)

    def _lost(self, *, kept: bool, reset: bool = False) -> None:
        for one in self._old:
            one.close(reset=True)
        self._old.clear()
        if self._connection is not None:
            self._connection.close(reset=reset)
            self._connection = None
        if not kept:
            self.held = {}


def _announcements(keys: Iterable[Key], said: Saying, add_path: bool) -> Iterator[bytes]:
    common = attributes.encode_common(
        as_path=(),
        four_octet_as=True,
        med=None,
        local_pref=said.local_pref,
        communities=(),
        large_communities=(),
    )
    for family, nlri in _by_family(keys, add_path):
        yield from update.announce(
            family, nlri, next_hop=said.next_hop, common=common, link_local=said.link_local
        )


def _withdrawals(keys: Iterable[Key], add_path: bool) -> Iterator[bytes]:
    for family, nlri in _by_family(keys, add_path):
        yield from update.withdraw(family, nlri)


def _by_family(
    keys: Iterable[Key], add_path: bool
) -> Iterator[tuple[model.Family, list[model.Nlri]]]:
    """NLRI, with path identifiers where they are due (RFC 7911 section 3)."""
    found: dict[model.Family, list[model.Nlri]] = defaultdict(list)
    for prefix, path_id in keys:
        before = path_id.to_bytes(4) if add_path else b""
        found[model.Family.of(prefix)].append(before + model.nlri(prefix))
    yield from found.items()
