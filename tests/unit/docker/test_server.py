"""The plugin socket as dockerd meets it: a real unix socket, aiohttp's client and raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bgp_ipvlan import errors
from bgp_ipvlan.docker import network, server, wire
from tests.unit.docker import conftest as c

CALLS = [
    "GwAllocCheck",
    "CreateNetwork",
    "CreateEndpoint",
    "Join",
    "ProgramExternalConnectivity",
    "EndpointOperInfo",
    "RevokeExternalConnectivity",
    "Leave",
    "DeleteEndpoint",
    "DeleteNetwork",
    "AllocateNetwork",
    "FreeNetwork",
    "DiscoverNew",
    "DiscoverDelete",
]
"""NetworkDriver's calls that have a body, in an order in which they succeed."""
BODIES: dict[str, dict[str, Any]] = {
    "GwAllocCheck": {"Options": None},
    "CreateNetwork": c.network_body(),
    "CreateEndpoint": c.endpoint_body(),
    "DeleteNetwork": {"NetworkID": c.NET},
    "AllocateNetwork": {"NetworkID": c.NET, "Options": {}, "IPv4Data": [], "IPv6Data": None},
    "FreeNetwork": {"NetworkID": c.NET},
    "DiscoverNew": {"DiscoveryType": 1, "DiscoveryData": {"Address": "192.0.2.1", "Self": True}},
    "DiscoverDelete": {"DiscoveryType": 1, "DiscoveryData": {}},
}


class Client:
    """Speaks to a socket as Docker's client does."""

    def __init__(self, path: Path, session: aiohttp.ClientSession) -> None:
        self.path = path
        self.session = session

    async def post(self, call: str, body: Any = b"", **options: Any) -> tuple[int, Any]:
        """Status and JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() + b"\n"
        headers = {"Accept": "application/vnd.docker.plugins.v1.2+json"}
        async with self.session.post(
            f"http://plugin.moby.localhost/{call}",
            data=options.pop("data", data),
            headers=headers,
            skip_auto_headers=["Content-Type"],
        ) as answer:
            return answer.status, json.loads(await answer.read())

    async def raw(self, data: bytes) -> bytes:
        """Send octets and read until the other side closes."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        with contextlib.closing(writer):
            writer.write(data)
            await writer.drain()
            return await reader.read()


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    """A client that closes behind itself."""
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(path, session)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[server.PluginServer]:
    """A listening server that is not ready yet."""
    found = server.PluginServer(tmp_path / "plugins" / "bgp-ipvlan.sock")
    await found.start()
    yield found
    await found.close()


@pytest.fixture
async def client(door: server.PluginServer, world: c.World) -> AsyncIterator[Client]:
    """A client of a server that is ready."""
    door.ready(world.driver, world.addresses)
    async with connected(door._path) as found:
        yield found


async def test_activation(client: Client) -> None:
    """A zero-length body, and exactly what dockerd looks for."""
    implements = ["NetworkDriver", "IpamDriver"]
    assert await client.post("Plugin.Activate") == (200, {"Implements": implements})
    assert await client.post("NetworkDriver.GetCapabilities") == (
        200,
        {"Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": True},
    )
    assert await client.post("IpamDriver.GetCapabilities") == (
        200,
        {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    )
    status, spaces = await client.post("IpamDriver.GetDefaultAddressSpaces")
    assert status == 200
    assert spaces["LocalDefaultAddressSpace"] == spaces["GlobalDefaultAddressSpace"] != ""


async def test_every_call_of_the_protocol(client: Client) -> None:
    """200 and a JSON object from each, in an order in which each can succeed."""
    assert set(CALLS) == set(server._CALLS)
    for call in CALLS:
        status, answer = await client.post(f"NetworkDriver.{call}", BODIES.get(call, c.ref()))
        assert (status, type(answer)) == (200, dict), (call, answer)
        assert not answer.get("Err")


async def test_every_call_of_the_ipam_driver(client: Client) -> None:
    """As Docker sends them, nulls and all; a refusal has the key that Docker reads."""
    pool = {"AddressSpace": "x", "Pool": "10.9.9.0/24", "SubPool": "", "Options": None, "V6": False}
    assert (await client.post("IpamDriver.RequestPool", pool))[0] == 200
    pool_id = (await client.post("IpamDriver.RequestPool", {**pool, "Pool": "10.9.8.0/24"}))[1][
        "PoolID"
    ]
    address = {"PoolID": pool_id, "Address": "", "Options": None}
    status, answer = await client.post("IpamDriver.RequestAddress", address)
    assert (status, answer["Address"]) == (200, "10.9.8.1/24")
    taken = {**address, "Address": "10.9.8.1"}
    status, answer = await client.post("IpamDriver.RequestAddress", taken)
    assert status == 409
    assert answer["Err"] == answer["Error"]
    for call, body in (
        ("ReleaseAddress", {"PoolID": pool_id, "Address": "10.9.8.1"}),
        ("ReleasePool", {"PoolID": pool_id}),
    ):
        assert await client.post(f"IpamDriver.{call}", body) == (200, {})
    assert (await client.post("IpamDriver.Nothing", {}))[0] == 404


async def test_refusals_are_read_by_both_kinds_of_client(client: Client) -> None:
    """400 for what is wrong, 409 for what is in the way; Err and Error; the reason at the end."""
    for body, status, reason in (
        (c.network_body(mtu="x"), 400, "bad-option"),
        (c.endpoint_body(), 409, "unknown-network"),
    ):
        call = "NetworkDriver.CreateNetwork" if status == 400 else "NetworkDriver.CreateEndpoint"
        found, answer = await client.post(call, body)
        assert found == status
        assert answer["Err"] == answer["Error"]
        assert answer["Err"].endswith(f"[{reason}]")


async def test_only_post(client: Client) -> None:
    """Another method is 405 with JSON, and changes nothing."""
    for method in ("GET", "PUT", "DELETE"):
        url = "http://d/NetworkDriver.DeleteNetwork"
        async with client.session.request(method, url, json={"NetworkID": c.NET}) as answer:
            assert answer.status == 405
            assert "POST" in (await answer.json())["Err"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "X.Leave",
        "Leave",
        "NetworkDriver.Nothing",
        "IpamDriver.Leave",
        "NetworkDriver.",
        "a/b",
        "%00",
    ],
)
async def test_what_we_do_not_implement(client: Client, path: str) -> None:
    """404 with JSON, also without a body (moby asks for what a driver may lack)."""
    status, answer = await client.post(path)
    assert status == 404
    assert answer["Err"] == answer["Error"]


@pytest.mark.parametrize("call", CALLS)
async def test_a_repeated_call_without_its_body(client: Client, call: str) -> None:
    """moby#35459: said to be that, never taken for an empty request."""
    for body in (b"", b"\n"):
        status, answer = await client.post(f"NetworkDriver.{call}", body)
        assert status == 400
        assert answer["Err"].endswith("[empty-body]")


MALFORMED = [
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"\xff\xfe",
    b"{}",
    b'{"NetworkID": null}',
    b"[" * 100_000,
]
SHAPES = {
    "CreateNetwork": [
        b'{"NetworkID": "x", "IPv4Data": {}}',
        b'{"NetworkID": "x", "Options": []}',
        b'{"NetworkID": "x", "IPv4Data": [{"Pool": 5}]}',
    ],
    "CreateEndpoint": [
        b'{"NetworkID": "x", "EndpointID": 5}',
        b'{"NetworkID": "x", "EndpointID": "y", "Interface": "z"}',
    ],
    "Join": [b'{"NetworkID": "x"}', b'{"NetworkID": "x", "EndpointID": null}'],
    "DeleteNetwork": [b'{"NetworkID": ["x"]}'],
}


@pytest.mark.parametrize("call", list(SHAPES))
async def test_malformed_bodies(client: Client, world: c.World, call: str) -> None:
    """400 with one line and a reason, and nothing is done."""
    for body in (*MALFORMED, *SHAPES[call]):
        status, answer = await client.post(f"NetworkDriver.{call}", body)
        assert (status, answer["Err"].split("[")[-1]) == (400, "bad-json]"), (body, answer)
        assert "\n" not in answer["Err"]
    world.nothing_left()


async def test_odd_but_valid_bodies_are_refused_in_one_line(client: Client) -> None:
    """What the shapes let through meets the checks of the content; never an internal error."""
    odd: list[dict[str, Any]] = [
        {"Options": {"com.docker.network.generic": [1]}},
        {"Options": {"com.docker.network.generic": {"parent": None}}},
        {"Options": {"com.docker.network.generic": {"mtu": {"a": 1}}}},
        {"Options": {"com.docker.network.internal": "yes"}, "IPv4Data": [{}]},
        {"IPv4Data": [{"Pool": "10.0.0.0/24", "Gateway": "\x00"}]},
    ]
    for rest in odd:
        body = {"NetworkID": c.NET2} | rest
        status, answer = await client.post("NetworkDriver.CreateNetwork", body)
        assert status in {400, 409}, (body, answer)
    assert (await client.post("NetworkDriver.CreateNetwork", c.network_body()))[0] == 200
    odd_ports: list[Any] = [
        "x",
        5,
        [5],
        [{"Proto": "tcp"}],
        [{"Port": None}],
        [{"HostPort": []}],
        {"a": 1},
    ]
    for ports in odd_ports:
        body = c.endpoint_body()
        body["Options"] = {"com.docker.network.portmap": ports}
        status, answer = await client.post("NetworkDriver.CreateEndpoint", body)
        assert status in {200, 400}, (ports, answer)
        await client.post("NetworkDriver.DeleteEndpoint", c.ref())


async def test_huge_bodies(client: Client) -> None:
    """413 with JSON; the limit itself is let in; the daemon serves on."""
    for size in (server.MAX_BODY + 1, 8 * server.MAX_BODY):
        status, answer = await client.post(
            "NetworkDriver.CreateNetwork", data=io.BytesIO(b" " * size)
        )
        assert (status, answer["Err"][-11:]) == (413, "[huge-body]")
    body = json.dumps(c.network_body()).encode().ljust(server.MAX_BODY)
    assert (await client.post("NetworkDriver.CreateNetwork", data=io.BytesIO(body)))[0] == 200


async def test_chunked_bodies(client: Client) -> None:
    """A body of unknown length, in pieces that cut words."""

    async def pieces() -> AsyncIterator[bytes]:
        data = json.dumps(c.network_body()).encode()
        for start in range(0, len(data), 7):
            yield data[start : start + 7]

    assert await client.post("NetworkDriver.CreateNetwork", data=pieces()) == (200, {})


async def test_raw_octets(client: Client, world: c.World) -> None:
    """HTTP/1.1 by hand as Go writes it; what is no HTTP is closed, and the daemon serves on."""
    body = json.dumps({"NetworkID": c.NET}).encode() + b"\n"
    answer = await client.raw(
        b"POST /NetworkDriver.DeleteNetwork HTTP/1.1\r\nHost: plugin.moby.localhost\r\n"
        b"Accept: application/vnd.docker.plugins.v1.2+json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n{}")
    assert b"400" in (await client.raw(b"\x16\x03\x01 this is TLS\r\n\r\n")).split(b"\r\n")[0]
    assert await client.post("NetworkDriver.DeleteNetwork", body) == (200, {})


async def test_a_client_that_goes_in_the_middle(client: Client) -> None:
    """Half a request and gone: nobody else notices."""
    _, writer = await asyncio.open_unix_connection(client.path)
    writer.write(b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: d\r\nContent-Length: 99\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await client.post("Plugin.Activate"))[0] == 200


async def test_an_error_of_our_own(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in a handler: 500 with JSON, a traceback in the log, and the daemon lives."""

    async def broken(_driver: network.Driver, _request: object) -> wire.Json:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(server._CALLS, "Leave", (wire.EndpointRef, broken))
    status, answer = await client.post("NetworkDriver.Leave", c.ref())
    assert (status, answer["Err"][-16:]) == (500, "[internal-error]")
    assert "ZeroDivisionError" in caplog.text
    assert (await client.post("NetworkDriver.DeleteEndpoint", c.ref()))[0] == 200


async def test_a_handler_that_hangs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled in time, said to be late, and the daemon lives."""
    cancelled = asyncio.Event()

    async def hanging(_driver: network.Driver, _request: object) -> wire.Json:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    monkeypatch.setitem(server._CALLS, "Leave", (wire.EndpointRef, hanging))
    monkeypatch.setattr(server, "_BOUND", 0.05)
    status, answer = await client.post("NetworkDriver.Leave", c.ref())
    assert (status, answer["Err"][-9:]) == (504, "[timeout]")
    assert cancelled.is_set()


async def test_calls_before_ready_wait(door: server.PluginServer, world: c.World) -> None:
    """The socket answers from the first moment; a call that needs the daemon waits for it."""
    async with connected(door._path) as client:
        assert (await client.post("Plugin.Activate"))[0] == 200
        early = asyncio.create_task(client.post("NetworkDriver.CreateNetwork", c.network_body()))
        assert (await client.post("NetworkDriver.GetCapabilities"))[0] == 200
        assert not early.done()
        assert dict(world.state.networks) == {}
        door.ready(world.driver, world.addresses)
        assert await early == (200, {})


async def test_a_daemon_that_is_never_ready(
    door: server.PluginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reason `starting`, and not dockerd's own time-out."""
    monkeypatch.setattr(server, "_START", 0.05)
    async with connected(door._path) as client:
        status, answer = await client.post("NetworkDriver.Leave", c.ref())
        assert (status, answer["Err"][-10:]) == (409, "[starting]")


# --- the socket --------------------------------------------------------------------------------


async def test_the_socket_is_for_root_only_and_goes(tmp_path: Path) -> None:
    """Its folder is made where it is missing; mode 0600; removed at close."""
    path = tmp_path / "docker" / "plugins" / "x.sock"
    door = server.PluginServer(path)
    await door.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await door.close()
    assert not path.exists()
    await door.close()


async def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    """What kill -9 left does not keep the next one from starting."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    door = server.PluginServer(path)
    await door.start()
    async with connected(path) as client:
        assert (await client.post("Plugin.Activate"))[0] == 200
    await door.close()


async def test_a_live_socket_is_left_alone(door: server.PluginServer) -> None:
    """Reason `socket-in-use`; the first one still answers."""
    with pytest.raises(errors.ConfigError) as caught:
        await server.PluginServer(door._path).start()
    assert caught.value.reason == "socket-in-use"
    async with connected(door._path) as client:
        assert (await client.post("Plugin.Activate"))[0] == 200


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """Not a socket: never removed, and a reason."""
    path = tmp_path / "x.sock"
    path.write_text("precious")
    with pytest.raises(errors.ConfigError) as caught:
        await server.PluginServer(path).start()
    assert caught.value.reason in {"socket-in-use", "plugin-socket"}
    assert path.read_text() == "precious"


async def test_a_place_where_no_socket_can_be(tmp_path: Path) -> None:
    """A file where the folder should be, a path too long for a socket: reason `plugin-socket`."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x.sock", tmp_path / ("x" * 120)):
        with pytest.raises(errors.ConfigError) as caught:
            await server.PluginServer(path).start()
        assert caught.value.reason == "plugin-socket"


CHILD = """
import asyncio, os, pathlib, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from bgp_ipvlan.docker import server

async def main():
    door = server.PluginServer(pathlib.Path(sys.argv[1]))
    await door.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await door.close()

asyncio.run(main())
"""


async def test_a_socket_from_systemd(tmp_path: Path) -> None:
    """LISTEN_FDS: descriptor 3 is served, also what came before us, and is left in place."""
    path = tmp_path / "systemd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        # A call waits in the backlog before the daemon starts: that is what activation is for.
        async with connected(path) as client:
            early = asyncio.create_task(client.post("Plugin.Activate"))

            def take_three() -> None:
                os.dup2(listener.fileno(), 3, inheritable=True)

            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CHILD, str(path)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"LISTEN_FDS": "1"},
                close_fds=False,
                preexec_fn=take_three,
            )
            try:
                assert await early == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
            finally:
                await child.communicate(b"")
            assert child.returncode == 0
            assert path.exists(), "systemd's socket is systemd's to remove"
