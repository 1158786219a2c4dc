"""TCP for BGP: listening and connecting. Bytes only; what they mean is `bgp`'s."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines.embedded import sockets

CHUNK = 1 << 16
"""Octets read from one neighbour per turn of the loop, so that none delays the others (D7)."""
_buffer = bytearray(CHUNK)
"""One for all: asyncio fills it and hands it on in one step, and 500 neighbours need no 32 MB."""
_CONNECT_TIMEOUT = 10.0
_LINGER = 2.0
"""Seconds that a closed connection may take to deliver our last word."""


class Receiver(Protocol):
    """Whom a connection tells."""

    def received(self, data: bytes) -> None:
        """Octets came."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone."""

    def written(self) -> None:
        """The socket has taken all there was to send."""


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
        self._abort: asyncio.TimerHandle | None = None
        self._total = 0
        self.behind = False
        """The socket has not taken all yet: the other side does not read fast enough."""

    @property
    def taken(self) -> int:
        """Octets that the socket has taken so far."""
        assert self._transport is not None
        return self._total - self._transport.get_write_buffer_size()

    @property
    def socket(self) -> socket.socket:
        """For options."""
        assert self._transport is not None
        found: socket.socket = self._transport.get_extra_info("socket")
        return found

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
        # Told when anything stays behind, and again when nothing does.
        transport.set_write_buffer_limits(high=0)
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
        if self._abort is not None:
            self._abort.cancel()
        self._end(f"connection lost: {exc}" if exc else "connection closed by peer")

    def _end(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.disconnected(reason)

    def pause_writing(self) -> None:
        """Asyncio's callback."""
        self.behind = True

    def resume_writing(self) -> None:
        """Asyncio's callback."""
        self.behind = False
        if self._receiver is not None:
            self._receiver.written()

    def send(self, data: bytes) -> None:
        """Queue octets."""
        if data and self._transport is not None:
            self._total += len(data)
            self._transport.write(data)

    def eof_received(self) -> None:
        """Asyncio's callback: the other side says no more.

        Asyncio would tell of the end only when all of ours is sent, which may be never.
        """
        self._end("connection closed by peer")

    def pause(self) -> None:
        """Read nothing more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close so that the other side reads all that is queued, if it does so soon.

        Closing while octets of the other side lie unread makes the kernel send RST, and what
        we said last may be lost by it. So say only that no more comes, and wait for its end.
        The receiver hears no more of it.
        """
        self._receiver = None
        transport = self._transport
        if transport is None or transport.is_closing() or self._abort is not None:
            return
        try:
            transport.resume_reading()
            transport.write_eof()
        except OSError:
            transport.abort()  # too late: its reset came before the loop read it (ENOTCONN)
            return
        self._abort = asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    @property
    def open(self) -> bool:
        """Whether it is not gone yet."""
        return self._transport is not None and not self._gone.is_set()

    async def closed(self) -> None:
        """Return when it is gone; within seconds after `close`."""
        if self._transport is not None:
            await self._gone.wait()


async def connect(
    neighbor: model.NeighborConfig,
    accept: Callable[[Connection], Receiver | None],
    *,
    ebgp: bool,
) -> None:
    """Connect to a neighbour.

    Raises:
        OSError: it does not answer.
        errors.EngineError: `password-unusable`.
    """
    loop = asyncio.get_running_loop()
    family = model.Family.of(neighbor.address).af
    sock = _socket(family, socket.SOCK_NONBLOCK)
    try:
        sockets.set_ttl(sock, neighbor, ebgp=ebgp)
        if neighbor.password:
            who = ipaddress.ip_network(neighbor.address)
            sockets.set_password(sock, who, neighbor.password)
        if neighbor.bind_interface:
            # Before an address, which is only there for sockets of its VRF.
            device = neighbor.bind_interface.encode()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        if neighbor.local_address is not None:
            sock.bind((str(neighbor.local_address), 0))
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            await loop.sock_connect(sock, (str(neighbor.address), neighbor.port))
        await loop.create_connection(lambda: Connection(accept), sock=sock)
    except BaseException:
        sock.close()
        raise


class Listener:
    """The listening sockets.

    Args:
        config: where to listen.
        accept: called with each connection that comes in.
    """

    def __init__(
        self,
        config: model.SpeakerConfig,
        accept: Callable[[Connection], Receiver | None],
    ) -> None:
        self._config = config
        self._accept = accept
        self._servers: list[tuple[socket.socket, asyncio.Server]] = []

    @property
    def listening(self) -> bool:
        """Whether it does."""
        return bool(self._servers)

    async def start(self, *, six: bool, passwords: Mapping[model.Prefix, str]) -> None:
        """Listen on every configured address, each password demanded from the first moment on.

        Args:
            six: whether there is an IPv6 neighbour: else not to have IPv6 is no error.
            passwords: see `set_passwords`.

        Raises:
            errors.EngineError: `port-in-use`, `cannot-listen`, `password-unusable`; then it does
                not listen.
        """
        loop = asyncio.get_running_loop()
        try:
            for address in self._config.listen_addresses:
                if address.version == 6 and address.is_unspecified and not (six or _has_ipv6()):
                    continue
                sock = _bind(address, self._config.listen_port, passwords)
                # In our hands before anything is awaited: whoever cancels this can close it.
                server = await loop.create_server(
                    lambda: Connection(self._accept),
                    sock=sock,
                    backlog=socket.SOMAXCONN,
                    start_serving=False,
                )
                self._servers.append((sock, server))
            for _, server in self._servers:
                await server.start_serving()
        except BaseException:
            self.close()
            raise

    def set_passwords(
        self, passwords: Mapping[model.Prefix, str], *, before: Mapping[model.Prefix, str] = {}
    ) -> None:
        """TCP MD5 for connections from some addresses; see `sockets.set_password`.

        Args:
            passwords: by address; an empty one ends it.
            before: to be restored when one of them is refused.

        Raises:
            errors.EngineError: `password-unusable`.
        """
        done: list[tuple[socket.socket, model.Prefix]] = []
        try:
            for sock, _ in self._servers:
                for who, password in passwords.items():
                    if sock.family == model.Family.of(who).af:
                        sockets.set_password(sock, who, password)
                        done.append((sock, who))
        except errors.EngineError:
            for sock, who in done:
                sockets.set_password(sock, who, before.get(who, ""))
            raise

    def close(self) -> None:
        """Listen no more."""
        for _, server in self._servers:
            server.close()
        self._servers.clear()


def _socket(family: int, flags: int = 0) -> socket.socket:
    """A TCP socket, with the protocol named.

    Only then asyncio sets TCP_NODELAY; without it a route may wait 40 ms for the
    acknowledgement of the one before.
    """
    kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | flags
    return socket.socket(family, kind, socket.IPPROTO_TCP)


def _bind(
    address: model.Address, port: int, passwords: Mapping[model.Prefix, str]
) -> socket.socket:
    sock = _socket(model.Family.of(address).af)
    try:
        # Our own connections of before, in TIME_WAIT, must not keep us from coming back.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sockets.send_far(sock)
        for who, password in passwords.items():
            if who.version == address.version:
                sockets.set_password(sock, who, password)
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
    except BaseException:
        sock.close()
        raise
    return sock


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::", 0))
        return True
    return False
