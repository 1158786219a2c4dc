"""TCP for BGP: listening and connecting. Bytes only; what they mean is `bgp`'s."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Protocol

from bgp_ipvlan import errors, model

CHUNK = 1 << 16
"""Octets read from one neighbour per turn of the loop, so that none delays the others (D7)."""
_buffer = bytearray(CHUNK)
"""One for all: asyncio fills it and hands it on in one step, and 500 neighbours need no 32 MB."""
_CONNECT_TIMEOUT = 10.0


class Receiver(Protocol):
    """Whom a connection tells."""

    def received(self, data: bytes) -> None:
        """Octets came."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""


class Connection(asyncio.BufferedProtocol):
    """One TCP connection.

    Args:
        accept: called with the connection when it stands; gives who is told.
    """

    def __init__(self, accept: Callable[[Connection], Receiver | None]) -> None:
        self._accept = accept
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()

    @property
    def local(self) -> model.Address:
        """Our own address."""
        assert self._transport is not None
        host = self._transport.get_extra_info("sockname")[0].partition("%")[0]
        return ipaddress.ip_address(host)

    @property
    def remote(self) -> model.Address:
        """The other end's address."""
        assert self._transport is not None
        host = self._transport.get_extra_info("peername")[0].partition("%")[0]
        return ipaddress.ip_address(host)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's callback."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if transport.get_extra_info("peername") is not None:
            self._receiver = self._accept(self)
        if self._receiver is None:
            # Refused, or gone again before we looked.
            transport.abort()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's signature
        """Asyncio's callback."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Asyncio's callback."""
        if self._receiver is not None:
            self._receiver.received(bytes(memoryview(_buffer)[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's callback."""
        self._gone.set()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.disconnected(f"connection lost: {exc}" if exc else "connection closed by peer")

    def send(self, data: bytes) -> None:
        """Queue octets."""
        if data and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Close after what is queued has been sent. The receiver hears no more of it."""
        self._receiver = None
        if self._transport is not None:
            self._transport.close()

    async def finish(self, timeout: float) -> None:
        """Close so that the other side reads all that is queued, waiting at most `timeout` seconds.

        Closing while octets of the other side lie unread makes the kernel send RST, and what
        we said last may be lost by it. So say only that no more comes, and wait for its end.
        """
        self._receiver = None
        transport = self._transport
        if transport is None or self._gone.is_set():
            return
        try:
            async with asyncio.timeout(timeout):
                if not transport.is_closing():
                    transport.write_eof()
                await self._gone.wait()
        except OSError:
            # Too late (TimeoutError is one), or the other side's reset came before the loop
            # read it (ENOTCONN): an escape here would cancel the other neighbours' Cease.
            transport.abort()


async def connect(
    neighbor: model.NeighborConfig, accept: Callable[[Connection], Receiver | None]
) -> None:
    """Connect to a neighbour.

    Raises:
        OSError: it does not answer.
    """
    loop = asyncio.get_running_loop()
    family = model.Family.of(neighbor.address).af
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if neighbor.local_address is not None:
            sock.bind((str(neighbor.local_address), 0))
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            await loop.sock_connect(sock, (str(neighbor.address), neighbor.port))
        await loop.create_connection(lambda: Connection(accept), sock=sock)
    except BaseException:
        sock.close()
        raise


async def listen(
    config: model.SpeakerConfig, accept: Callable[[Connection], Receiver | None]
) -> list[asyncio.Server]:
    """Listen on every configured address.

    Raises:
        errors.EngineError: `port-in-use`, `cannot-listen`.
    """
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    try:
        for address in config.listen_addresses:
            if _needless(address, config) and not _has_ipv6():
                continue
            sock = _bind(address, config.listen_port)
            servers.append(await loop.create_server(lambda: Connection(accept), sock=sock))
    except BaseException:
        for server in servers:
            server.close()
        raise
    return servers


def _bind(address: model.Address, port: int) -> socket.socket:
    sock = socket.socket(model.Family.of(address).af, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Our own connections of before, in TIME_WAIT, must not keep us from coming back.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
        sock.listen(socket.SOMAXCONN)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise errors.EngineError(
                "port-in-use",
                f"TCP port {port} is in use: another BGP daemon (bird, bgpd, gobgpd) runs on this "
                f"host; find it with `ss -ltnp 'sport = :{port}'` and stop it",
            ) from None
        raise errors.EngineError(
            "cannot-listen", f"cannot listen on {address} port {port}: {error.strerror}"
        ) from None
    return sock


def _needless(address: model.Address, config: model.SpeakerConfig) -> bool:
    """The IPv6 wildcard without an IPv6 neighbour: not to have it is no error."""
    six = any(neighbor.address.version == 6 for neighbor in config.neighbors)
    return address.version == 6 and address.is_unspecified and not six


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::", 0))
        return True
    return False
