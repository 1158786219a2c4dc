"""What the engine does on the wire, with this test itself as the neighbour at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, update
from tests.unit.bgp.speakers import BOUND, Speaker, free_port, until

V4 = model.Family.IPV4
RESTART = capability.GracefulRestart(restarted=False, time=30, families={V4: True})
PARAMETERS = capability.Capabilities(
    families=frozenset((V4,)), four_octet_as=65001, graceful_restart=RESTART
).encode()
KEEPALIVE = message.frame(message.KEEPALIVE)
COLLISION = bytes((message.CEASE, message.COLLISION))


class Wire:
    """One connection, as the neighbour holds it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> tuple[int, bytes]:
        """The next message: type and body."""
        async with asyncio.timeout(BOUND):
            header = await self.reader.readexactly(message.HEADER_SIZE)
            body = await self.reader.readexactly(int.from_bytes(header[16:18]) - len(header))
            return header[18], body

    async def read_open(self) -> capability.Capabilities:
        """The other side's OPEN; what it can."""
        kind, body = await self.read()
        assert kind == message.OPEN
        return capability.parse(message.parse_open(body).parameters)

    async def close(self) -> None:
        """Close, and wait until it is."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def say(self, *messages: bytes) -> None:
        """Send."""
        self.writer.write(b"".join(messages))


def opening(identifier: str) -> bytes:
    """An OPEN with that identifier."""
    number = int(ipaddress.IPv4Address(identifier))
    return message.Open(
        my_as=65001, hold_time=90, identifier=number, parameters=PARAMETERS
    ).encode()


async def connect(to: Speaker, address: model.Address, *, receive_buffer: int = 0) -> Wire:
    """A connection from an address; with a small buffer it soon takes no more."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((str(address), 0))
    await asyncio.get_running_loop().sock_connect(sock, (str(to.address), to.port))
    return Wire(*await asyncio.open_connection(sock=sock, limit=receive_buffer or 1 << 16))


@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize(("identifier", "stays"), [("10.0.0.1", "ours"), ("10.0.0.3", "theirs")])
async def test_collision(first: str, identifier: str, stays: str) -> None:
    """RFC 4271 section 6.8: the connection made by the higher identifier (10.0.0.2 or ours) stays.

    On whichever of the two the OPEN comes first; the other ends with Cease, subcode 7.
    """
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    near.knows(far)
    accepted: asyncio.Queue[Wire] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: accepted.put_nowait(Wire(reader, writer)), str(far.address), port
    )
    await near.start()
    wires: dict[str, Wire] = {}
    try:
        async with asyncio.timeout(BOUND):
            wires["ours"] = await accepted.get()
        wires["theirs"] = await connect(near, far.address)
        for wire in wires.values():
            await wire.read_open()
        wires[first].say(opening(identifier))
        loser = wires["theirs" if stays == "ours" else "ours"]

        kind, body = await loser.read()
        if kind == message.KEEPALIVE:
            kind, body = await loser.read()
        assert (kind, body) == (message.NOTIFICATION, COLLISION)

        if first != stays:
            wires[stays].say(opening(identifier))
        wires[stays].say(KEEPALIVE)
        assert await wires[stays].read() == (message.KEEPALIVE, b"")
        await until(near.established, "the other to be established")
    finally:
        for wire in wires.values():
            await wire.close()
        server.close()
        await near.engine.stop(withdraw=False)


@pytest.mark.parametrize("preserved", [False, True])
async def test_restart_bits(preserved: bool) -> None:
    """RFC 4724 section 3: R in the first session after a restart only, F as routes were kept.

    When a later session is lost nothing of ours restarts, and routes are as they were.
    """
    port = free_port()
    far, near = Speaker(1, 65001, port), Speaker(2, 65002, port)
    near.knows(far, passive=True)
    await near.start(restarted=True, preserved=preserved)
    try:
        wire = await connect(near, far.address)
        first = (await wire.read_open()).graceful_restart
        wire.say(opening("10.0.0.1"), KEEPALIVE, update.end_of_rib(V4))
        await until(lambda: near.seen.synced_count, "synced")
        await wire.close()
        await until(lambda: len(near.seen.states) == 2, "the session's end")
        wire = await connect(near, far.address)
        second = (await wire.read_open()).graceful_restart
        await wire.close()
    finally:
        await near.engine.stop(withdraw=False)

    assert first == capability.GracefulRestart(
        restarted=True, notification=True, time=30, families=dict.fromkeys(model.Family, preserved)
    )
    assert second == capability.GracefulRestart(
        restarted=False, notification=True, time=30, families=dict.fromkeys(model.Family, True)
    )
