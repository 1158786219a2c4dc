"""HTTP/1.1 with JSON over unix sockets, both ends: h11 speaks it, asyncio carries it.

What is asked and answered is not understood here. aiohttp does the same with eight packages
more, for 14 MB of memory and 100 ms of every start (design.md, section 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http
import os
import pathlib
import socket
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self, TypeAlias

import h11
import msgspec

Json = dict[str, Any]

_BACKLOG = 128
_IDLE = 75.0
"""Seconds after which a connection without a whole request is closed. Docker's client may keep
idle ones for ever (20.10), and a POST that meets a closing connection is repeated without its
body (sheet, 1.3)."""
_READ = 1 << 16
_HEADERS = (("Content-Type", "application/json"),)
_Event: TypeAlias = "h11.Event | type[h11.NEED_DATA | h11.PAUSED]"


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes | None
    """None when there was more of it than the server takes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """What goes out."""

    body: Json
    status: int = 200


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Server:
    """Serves one listening socket.

    Args:
        handler: answers a request. It must not raise.
        max_body: octets of a request's body.
    """

    def __init__(self, handler: Handler, *, max_body: int) -> None:
        self._handler = handler
        self._max_body = max_body
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self, sock: socket.socket) -> None:
        """Serve a bound socket, and close it at the end; its path is the caller's to remove."""
        # Not `start_unix_server`: from Python 3.13 on that removes the path, also systemd's.
        self._server = await asyncio.start_server(self._accept, sock=sock, backlog=_BACKLOG)

    async def close(self, *, bound: float) -> None:
        """Stop listening, finish what is being served. Twice is fine, also without a start.

        Args:
            bound: seconds; what takes longer is cancelled.
        """
        self._closing = True
        if self._server is not None:
            self._server.close()
        for task in self._idle:
            task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=bound)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # It went in the middle, or has said nothing for long.
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with _Line(h11.SERVER, reader, writer) as line:
                try:
                    await self._converse(line)
                except h11.RemoteProtocolError as error:
                    if line.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                        text = f"this is no HTTP: {error}"
                        answer = Response({"Err": text, "error": text}, error.error_status_hint)
                        await line.answer(answer, last=True)

    async def _converse(self, line: _Line) -> None:
        while not self._closing and (request := await self._next(line)):
            answer = await self._handler(request)
            await line.answer(answer, method=request.method, last=self._closing)
            if line.http.our_state is not h11.DONE:
                return
            line.http.start_next_cycle()

    async def _next(self, line: _Line) -> Request | None:
        """The next request, when it is there as a whole; None when there are no more."""
        task = asyncio.current_task()
        assert task is not None
        self._idle.add(task)
        try:
            async with asyncio.timeout(_IDLE):
                head, body = await line.message(self._max_body)
        finally:
            self._idle.discard(task)
        if not isinstance(head, h11.Request):
            return None
        path, _, query = head.target.decode("ascii").partition("?")
        return Request(head.method.decode(), path, dict(urllib.parse.parse_qsl(query)), body)


def bind(path: pathlib.Path) -> socket.socket:
    """Make a socket of mode 0600, and its folder; over a dead one, never over a live one.

    Raises:
        OSError: EADDRINUSE when somebody answers there, or there is something else.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_dead(path)
        # Born with its mode: between bind and chmod anybody could connect.
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        # Not later: what is bound but does not listen looks dead to the next one.
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_dead(path: pathlib.Path) -> None:
    """Remove a socket that was left by a kill -9."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


async def call(
    path: pathlib.Path,
    method: str,
    resource: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Json | None = None,
) -> tuple[int, Any]:
    """Ask a server; returns the status and what the JSON says.

    Args:
        path: its socket.
        method: GET or POST.
        resource: beginning with a slash.
        query: parameters.
        body: of the request.

    Raises:
        OSError: it cannot be reached, or closes in the middle; InterruptedError when what it
            says is not HTTP or not JSON.
    """
    target = resource + ("?" + urllib.parse.urlencode(query) if query else "")
    sent = b"" if body is None else msgspec.json.encode(body)
    headers = [("Host", "bgp-ipvlan"), ("Connection", "close"), *_HEADERS, _length(sent)]
    reader, writer = await asyncio.open_unix_connection(path)
    async with _Line(h11.CLIENT, reader, writer) as line:
        try:
            await line.say(h11.Request(method=method, target=target, headers=headers), sent)
            head, data = await line.message()
            if not isinstance(head, h11.Response):
                raise InterruptedError("something else than an answer came")
            return head.status_code, msgspec.json.decode(data or b"")
        except (h11.RemoteProtocolError, msgspec.DecodeError) as error:
            raise InterruptedError(f"not understood: {error}") from None


class _Line:
    """A connection: h11's state between asyncio's streams. Closes it as a context manager."""

    def __init__(
        self,
        role: type[h11.CLIENT | h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(role)
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def message(
        self, most: int | None = None
    ) -> tuple[h11.Request | h11.Response | None, bytes | None]:
        """A whole message: head and body; without a head when no more come.

        The body is None when it has more than `most` octets. It is read to its end all the same:
        a client that is still sending does not look for an answer.
        """
        head: h11.Request | h11.Response | None = None
        body = bytearray()
        size = 0
        while True:
            event = await self._event()
            if isinstance(event, (h11.Request, h11.Response)):
                head = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if most is None or size <= most:
                    body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return head, None if most is not None and size > most else bytes(body)
            elif not isinstance(event, h11.InformationalResponse):
                return None, None

    async def _event(self) -> _Event:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                self._writer.write(self.http.send(go_on) or b"")
            data = await self._reader.read(_READ)
            if not data and self.http.our_role is h11.CLIENT:
                raise ConnectionResetError("closed before its answer was complete")
            self.http.receive_data(data)
        return event

    async def answer(self, response: Response, *, method: str = "", last: bool = False) -> None:
        """Send a response; the `last` one says so."""
        body = msgspec.json.encode(response.body)
        head = h11.Response(
            status_code=response.status,
            headers=[*_HEADERS, _length(body), *([("Connection", "close")] if last else [])],
            reason=http.HTTPStatus(response.status).phrase,
        )
        await self.say(head, b"" if method == "HEAD" else body)

    async def say(self, head: h11.Request | h11.Response, body: bytes) -> None:
        """Send a whole message."""
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        self._writer.write(b"".join(self.http.send(event) or b"" for event in events))
        await self._writer.drain()


def _length(body: bytes) -> tuple[str, str]:
    return "Content-Length", str(len(body))
