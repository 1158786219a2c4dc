"""The TCP side alone: how a connection ends. Real sockets on loopback, no BGP."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

import pytest

from bgp_ipvlan.engines.embedded import transport
from tests.unit.bgp.speakers import Speaker, free_port, until


class Ear:
    """Behaves as a peer's link: keeps what came."""

    def __init__(self) -> None:
        self.data = b""

    def received(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def disconnected(self, reason: str) -> None:
        """Nothing to do."""

    def written(self) -> None:
        """Nothing to do."""


async def _accepted(
    speaker: Speaker,
) -> tuple[transport.Listener, socket.socket, transport.Connection]:
    found: list[transport.Connection] = []

    def accept(connection: transport.Connection) -> transport.Receiver:
        found.append(connection)
        return Ear()

    listener = transport.Listener(speaker.config(), accept)
    await listener.start(six=False, passwords={})
    client = socket.create_connection((str(speaker.address), speaker.port))
    await until(lambda: found, "the connection to be accepted")
    return listener, client, found[0]


async def test_finish_survives_a_reset() -> None:
    """A neighbour that resets just then does not keep the others from hearing our Cease."""
    listener, client, connection = await _accepted(Speaker(1, 65001, free_port()))
    try:
        # Linger 0 makes close a reset, and on loopback it is there when close returns: before
        # the loop can have read it.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        connection.close()
        await until(connection._gone.is_set, "the connection to be gone")
    finally:
        listener.close()


async def test_finish_delivers_although_much_lies_unread() -> None:
    """What we said last arrives, although the neighbour had octets under way to us."""
    listener, client, connection = await _accepted(Speaker(1, 65001, free_port()))
    try:
        client.sendall(b"." * 100_000)
        connection.send(b"the last word")
        client.setblocking(False)
        connection.close()
        loop = asyncio.get_running_loop()
        heard = b""
        while data := await loop.sock_recv(client, 100):
            heard += data
        client.close()
        await connection.closed()
    finally:
        client.close()
        listener.close()

    assert heard == b"the last word"


async def test_bound_to_an_interface() -> None:
    """The socket is, before it has an address; without such an interface there is no session."""
    far = Speaker(1, 65001, free_port())
    listener = transport.Listener(far.config(), lambda _: Ear())
    await listener.start(six=False, passwords={})
    near, seen = Speaker(2, 65002, far.port), []

    def accept(connection: transport.Connection) -> transport.Receiver:
        seen.append(connection)
        return Ear()

    try:
        neighbor = near.knows(far, bind_interface="lo")
        await transport.connect(neighbor, accept, ebgp=True)
        name = seen[0].socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        seen[0].close()
        with pytest.raises(OSError, match="No such device") as caught:
            await transport.connect(near.knows(far, bind_interface="nothing9"), accept, ebgp=True)
    finally:
        listener.close()

    assert (name, near.address) == (b"lo\0", seen[0].local)
    assert caught.value.errno == errno.ENODEV
    assert len(seen) == 1
