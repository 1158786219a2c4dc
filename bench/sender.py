"""The sender, a program of its own: brings sessions up and writes what was packed before.

It must never be the limit, so it does nothing but write, and reads no further than it must.
What happened stands on its output, one JSON line each, in seconds of the machine's monotonic
clock; SIGTERM ends it. With --held, SIGUSR1 lets the tables go, and SIGUSR2 ends the sessions
for good, as a cable does that is pulled: TCP closes without a word of BGP.

    connecting   the first connection is about to be made
    ready        (with --held) the first session is Established, and holds its table back
    first        the first UPDATE is about to be written
    answered     (with --refresh) every ROUTE-REFRESH sent behind a table has its answer
    lost         a session ended that was Established; it is made again, as any speaker would
    burst        (with --burst-every) one more burst is about to be written
    closed       (after SIGUSR2) the sessions are about to be closed
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import itertools
import json
import signal
import time

from bench import wire

HOLD_TIME = 600
"""Seconds. No round is as long, so that no KEEPALIVE but the first is ever due."""
_RETRY = 0.02
_AT_ONCE = 8
"""Connections being made at a time. BIRD's listening socket holds no more: what it has no room
for, TCP tries again after one second, then three, and that would be what is measured."""


def say(event: str, **values: object) -> None:
    """One line, at once, with the time."""
    print(json.dumps({"event": event, "time": time.monotonic(), **values}), flush=True)


class Session(asyncio.Protocol):
    """One session: up to Established, then the table.

    Args:
        sender: the program.
        table: all the UPDATEs.
        address: its own, also its router id.
    """

    def __init__(self, sender: Sender, table: bytes, address: ipaddress.IPv4Address) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.greeted = asyncio.Event()
        self.transport: asyncio.Transport
        self.up = False
        self._sender = sender
        self.table = table
        self._address = address
        self._buffer = bytearray()
        self._updates = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's callback."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(
            wire.opening(
                self._sender.local_as,
                self._address,
                HOLD_TIME,
                graceful_restart=self._sender.graceful_restart,
            )
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's callback."""
        self.greeted.set()
        if not self.over.done():
            self.over.set_result(str(exc or "closed by the receiver"))

    def data_received(self, data: bytes) -> None:
        """Asyncio's callback."""
        self._buffer += data
        for kind, body in wire.messages(self._buffer):
            self._message(kind, body)

    def _message(self, kind: int, body: bytes) -> None:
        if kind == wire.OPEN:
            self.greeted.set()
            self.transport.write(wire.message(wire.KEEPALIVE))
        elif kind == wire.KEEPALIVE and not self.up:
            self.up = True
            self._sender.established(self)
        elif kind == wire.UPDATE and wire.announces(body):
            # The receiver has one prefix of its own. That it tells of it shows that it is
            # ready; that it tells again, after our request, how far it has come.
            self._updates += 1
            if self._updates == 1 and self._sender.settle:
                self._sender.send(self)
            elif self._updates == 2:
                self._sender.answered()
        elif kind == wire.NOTIFICATION:
            self.connection_lost(ConnectionError(f"NOTIFICATION {body[0]}/{body[1]}"))


class Sender:
    """All sessions of the program."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.local_as: int = arguments.local_as
        self.settle: bool = arguments.settle
        self.graceful_restart: bool = arguments.graceful_restart
        self._refresh: bool = arguments.refresh
        self._held: bool = arguments.held
        self._holding: list[Session] = []
        self._receiver = str(arguments.receiver)
        self._unanswered: int = arguments.sessions
        self._started: asyncio.Future[Session] | None = None
        self._interval: float = arguments.burst_every
        self._keeping: list[asyncio.Task[None]] = []
        routes, given = arguments.routes, arguments.next_hop
        self._tables = {
            address: wire.table(number * routes, routes, given[0] if given else address)
            for number, address in enumerate(
                arguments.address + number for number in range(arguments.sessions)
            )
        }
        hops = given or [arguments.address] * 2
        self._bursts = [
            wire.table(0, routes, hops[number % len(hops)], med=number)
            for number in range(1, len(hops) + 1)
            if self._interval
        ]

    def established(self, session: Session) -> None:
        """A session is up: send, unless something is to be waited for."""
        if self._held:
            self._holding.append(session)
            say("ready")
        elif not self.settle:
            self.send(session)

    def send(self, session: Session) -> None:
        """Write a session's table, and what belongs behind it."""
        assert self._started is not None
        behind = wire.refresh() if self._refresh else b""
        if self.graceful_restart:
            behind += wire.end_of_rib()
        if not self._started.done():
            self._started.set_result(session)
            say("first")
        session.transport.write(session.table + behind)

    def release(self) -> None:
        """Hold nothing back any more."""
        self._held = False
        for session in self._holding:
            self.send(session)

    def close(self) -> None:
        """End all sessions for good."""
        for task in self._keeping:
            task.cancel()
        say("closed")
        for session in self._holding:
            session.transport.abort()

    def answered(self) -> None:
        """The last one says when."""
        self._unanswered -= 1
        if not self._unanswered:
            say("answered")

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.release)
        loop.add_signal_handler(signal.SIGUSR2, self.close)
        self._started = loop.create_future()
        turn = asyncio.Semaphore(_AT_ONCE)
        say("connecting")
        async with asyncio.TaskGroup() as group:
            for address, table in self._tables.items():
                self._keeping.append(group.create_task(self._keep(address, table, turn)))
            if self._interval:
                await self._burst(await self._started)

    async def _keep(
        self, address: ipaddress.IPv4Address, table: bytes, turn: asyncio.Semaphore
    ) -> None:
        while True:
            async with turn:
                session = await self._connect(address, table)
                await session.greeted.wait()
            reason = await session.over
            if session.up:
                say("lost", address=str(address), reason=reason)
            await asyncio.sleep(_RETRY)

    async def _connect(self, address: ipaddress.IPv4Address, table: bytes) -> Session:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, session = await loop.create_connection(
                    lambda: Session(self, table, address),
                    self._receiver,
                    179,
                    local_addr=(str(address), 0),
                )
                return session
            except OSError:
                # It does not listen yet.
                await asyncio.sleep(_RETRY)

    async def _burst(self, session: Session) -> None:
        """The same prefixes with other attributes, again and again."""
        for table in itertools.cycle(self._bursts):
            await asyncio.sleep(self._interval)
            # Bursts, not a flood: a receiver that is still busy with the last one gets no other.
            if not session.transport.get_write_buffer_size():
                say("burst")
                session.transport.write(table)


def main() -> None:
    """Read the command line and go on until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", type=int, required=True, dest="local_as")
    parser.add_argument("--receiver", type=ipaddress.IPv4Address, required=True)
    parser.add_argument("--address", type=ipaddress.IPv4Address, required=True, help="the first")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--routes", type=int, required=True, help="of each session")
    parser.add_argument("--settle", action="store_true", help="wait for its first UPDATE")
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--held", action="store_true", help="wait for SIGUSR1")
    parser.add_argument("--graceful-restart", action="store_true", help="and send End-of-RIB")
    parser.add_argument(
        "--next-hop",
        type=ipaddress.ip_address,
        action="append",
        help="by default the session's address; of several, each burst has the next",
    )
    parser.add_argument("--burst-every", type=float, default=0.0, help="seconds")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(Sender(arguments).run())


if __name__ == "__main__":
    main()
