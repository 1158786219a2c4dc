"""HTTP over unix sockets: octets by hand, where aiohttp's client (docker/test_server) is too nice."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bgp_ipvlan import unixhttp

GET = b"GET /%s HTTP/1.1\r\nHost: d\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n"


class Desk:
    """A server whose handler says what it was asked; `/wait` takes until `go` is set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.go = asyncio.Event()
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.server = unixhttp.Server(self._answer, max_body=8)

    async def _answer(self, request: unixhttp.Request) -> unixhttp.Response:
        self.asked.put_nowait(request.path)
        if request.path == "/wait":
            await self.go.wait()
        body = None if request.body is None else request.body.decode()
        said = {"path": request.path, "query": dict(request.query), "body": body}
        status = 413 if body is None else 405 if request.method == "CONNECT" else 200
        return unixhttp.Response(said, status)

    async def raw(self, data: bytes) -> bytes:
        """Send octets, read until the server closes."""
        async with connected(self.path) as (reader, writer):
            writer.write(data)
            writer.write_eof()
            return await reader.read()


@contextlib.asynccontextmanager
async def connected(
    path: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is closed at the end."""
    reader, writer = await asyncio.open_unix_connection(path)
    with contextlib.closing(writer):
        yield reader, writer


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Listening."""
    found = Desk(tmp_path / "sock")
    await found.server.start(unixhttp.bind(found.path))
    yield found
    await found.server.close(bound=0)


async def test_both_ends(desk: Desk) -> None:
    """What `call` says arrives; so does the answer with its status."""
    query = {"a": "fe80::1%eth0", "b": "x y&z"}

    assert await unixhttp.call(desk.path, "GET", "/a/b", query=query) == (
        200,
        {"path": "/a/b", "query": query, "body": ""},
    )
    assert (await unixhttp.call(desk.path, "POST", "/", body={"a": 1}))[1]["body"] == '{"a":1}'
    assert (await unixhttp.call(desk.path, "POST", "/", body={"a": "too long"}))[0] == 413


async def test_many_requests_on_a_connection(desk: Desk) -> None:
    """Also sent at once: each gets its answer, in order."""
    said = await desk.raw(GET % b"1" + POST + b"\r\nab" + GET % b"3")

    assert said.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert [desk.asked.get_nowait() for _ in range(3)] == ["/1", "/x", "/3"]
    assert said.index(b'"/1"') < said.index(b'"ab"') < said.index(b'"/3"')


async def test_an_answer_to_head_has_no_body(desk: Desk) -> None:
    """Its length would be taken for the next answer's beginning."""
    said = await desk.raw(b"HEAD /x HTTP/1.1\r\nHost: d\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\n")


async def test_a_client_that_waits_to_be_told_to_go_on(desk: Desk) -> None:
    """Expect: 100-continue, before the body and once."""
    async with connected(desk.path) as (reader, writer):
        writer.write(POST + b"Expect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        writer.write_eof()
        assert b'"body":"ab"' in await reader.read()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\0\0\0\0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: d\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (POST[:-3] + b"-2\r\n\r\n", b"400"),
        (POST + b"\r\na", b"400"),
    ],
    ids=["no HTTP", "no host", "long header", "negative length", "cut short"],
)
async def test_what_is_no_http(desk: Desk, data: bytes, status: bytes) -> None:
    """Refused with JSON and closed, without the handler; the server serves on."""
    said = await desk.raw(data)

    assert said.split(b" ", 2)[1] == status
    assert b'"Err":"this is no HTTP: ' in said
    assert desk.asked.empty()
    assert (await unixhttp.call(desk.path, "GET", "/"))[0] == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"CONNECT d:80 HTTP/1.1\r\nHost: d\r\n\r\n", b"405"),
        (GET[:-2] % b"" + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"200"),
    ],
    ids=["CONNECT", "Upgrade"],
)
async def test_nothing_but_http(desk: Desk, data: bytes, status: bytes) -> None:
    """A wish to speak something else is answered like any request."""
    assert (await desk.raw(data)).split(b" ", 2)[1] == status


async def test_close_finishes_what_is_being_served(desk: Desk) -> None:
    """Idle connections end at once; an answer under way comes, and says that it is the last."""
    async with connected(desk.path) as (idle, _), connected(desk.path) as (reader, writer):
        writer.write(GET % b"wait" + GET % b"later")
        assert await desk.asked.get() == "/wait"
        closing = asyncio.create_task(desk.server.close(bound=60))
        assert await idle.read() == b""
        assert not closing.done()
        with pytest.raises(OSError, match=r"refused|No such file"):
            await asyncio.open_unix_connection(desk.path)
        desk.go.set()
        said = await reader.read()
        await closing

    assert b"Connection: close" in said
    assert said.count(b"HTTP/1.1") == 1
    assert desk.asked.empty()


async def test_close_does_not_wait_for_ever(desk: Desk) -> None:
    """What is not finished in time is cancelled."""
    async with connected(desk.path) as (reader, writer):
        writer.write(GET % b"wait")
        await desk.asked.get()
        await desk.server.close(bound=0.01)
        assert await reader.read() == b""


async def test_a_client_that_goes_before_its_answer(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else notices, nothing is left of it, and the log does not speak of it."""
    async with connected(desk.path) as (_, writer):
        writer.write(GET % b"wait")
        await desk.asked.get()
    desk.go.set()

    assert (await unixhttp.call(desk.path, "GET", "/"))[0] == 200
    await desk.server.close(bound=60)
    assert not desk.server._connections
    gc.collect()  # a task whose exception nobody took complains when it goes
    assert caplog.records == []


async def test_silence_is_not_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which no whole request comes is closed in time."""
    monkeypatch.setattr(unixhttp, "_IDLE", 0.01)
    for data in (b"", POST):
        async with connected(desk.path) as (reader, writer):
            writer.write(data)
            assert await reader.read() == b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionResetError),
        (b"rubbish\r\n\r\n", InterruptedError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", InterruptedError),
    ],
    ids=["nothing", "no HTTP", "half", "no JSON"],
)
async def test_a_server_that_is_none(tmp_path: Path, answer: bytes, error: type[OSError]) -> None:
    """What `call` cannot understand is an OSError, which the command line translates."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "sock")
    async with server:
        with pytest.raises(error):
            await unixhttp.call(tmp_path / "sock", "GET", "/")
