"""HTTP on the plugin socket: Docker's calls in, JSON out, whatever happens inside.

It listens before anything slow is done, because a socket without an answer stalls dockerd
for 15 s; calls that come early wait for `ready`. No network or endpoint is understood here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import pathlib
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bgp_ipvlan import errors
from bgp_ipvlan.docker import network, wire

log = logging.getLogger("bgp_ipvlan")

MAX_BODY = 1 << 20
"""Octets. The largest real body, a CreateEndpoint with every port exposed, is a few KiB."""
_START = 20.0
"""Seconds a call waits for the daemon to be ready."""
_BOUND = 25.0
"""Seconds a handler may take: managed plugins are given 30."""
_BACKLOG = 128
_LISTEN_FDS_START = 3

Handler = Callable[[network.Driver, Any], Awaitable[wire.Json]]


async def _nothing(_driver: network.Driver, _request: object) -> wire.Json:
    return {}


async def _no_value(_driver: network.Driver, _request: object) -> wire.Json:
    return {"Value": {}}


_CALLS: dict[str, tuple[type, Handler]] = {
    # Every call of the protocol with the shape of its body (sheet, section 10.1).
    "GwAllocCheck": (wire.GwAllocCheck, network.Driver.gw_alloc_check),
    "CreateNetwork": (wire.CreateNetwork, network.Driver.create_network),
    "DeleteNetwork": (wire.NetworkRef, network.Driver.delete_network),
    "CreateEndpoint": (wire.CreateEndpoint, network.Driver.create_endpoint),
    "DeleteEndpoint": (wire.EndpointRef, network.Driver.delete_endpoint),
    "EndpointOperInfo": (wire.EndpointRef, _no_value),
    "Join": (wire.EndpointRef, network.Driver.join),
    "Leave": (wire.EndpointRef, network.Driver.leave),
    # Published ports were warned about at CreateEndpoint.
    "ProgramExternalConnectivity": (wire.EndpointRef, _nothing),
    "RevokeExternalConnectivity": (wire.EndpointRef, _nothing),
    # Swarm's; a driver of local scope has nothing to do there.
    "AllocateNetwork": (wire.NetworkRef, _nothing),
    "FreeNetwork": (wire.NetworkRef, _nothing),
    "DiscoverNew": (dict, _nothing),
    "DiscoverDelete": (dict, _nothing),
}

_STATIC = {
    "/Plugin.Activate": {"Implements": ["NetworkDriver"]},
    # Scope as Docker's own ipvlan driver: networks are local, containers are reachable globally.
    "/NetworkDriver.GetCapabilities": {
        "Scope": "local",
        "ConnectivityScope": "global",
        "GwAllocChecker": True,
    },
}


class PluginServer:
    """The plugin socket.

    Args:
        path: where dockerd looks for it; ignored when systemd hands a socket over.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._ours = True
        self._driver: asyncio.Future[network.Driver] | None = None
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_always_json])
        application.add_routes([web.route("*", "/{call:.*}", self._handle)])
        # Docker's client may keep idle connections for ever (20.10): close later than that, since
        # a POST that meets a closing connection is repeated without its body (sheet, 1.3).
        self._runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=75.0, shutdown_timeout=_BOUND
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            errors.ConfigError: `socket-in-use`, `plugin-socket`.
        """
        self._driver = asyncio.get_running_loop().create_future()
        sock = _inherited()
        self._ours = sock is None
        if sock is None:
            sock = _listen(self._path)
        await self._runner.setup()
        await web.SockSite(self._runner, sock, backlog=_BACKLOG).start()

    def ready(self, driver: network.Driver) -> None:
        """From now on calls are served."""
        assert self._driver is not None
        self._driver.set_result(driver)

    async def close(self) -> None:
        """Finish what is being served, stop listening, remove the socket if we made it."""
        await self._runner.cleanup()
        if self._ours:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _handle(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return _error(405, f"{request.method} is not possible here: Docker uses POST")
        body = await request.read()
        if request.path in _STATIC:
            return web.json_response(_STATIC[request.path])
        call = _CALLS.get(request.path.removeprefix("/NetworkDriver."))
        if call is None:
            return _error(404, f"bgp-ipvlan does not implement {request.path[1:]}")
        started = time.monotonic()
        kind, handler = call
        message: Any = wire.decode(body, kind)
        driver = await self._wait()
        async with asyncio.timeout(_BOUND):
            answer = await handler(driver, message)
        log.debug("call=%s ms=%.1f", request.path[1:], (time.monotonic() - started) * 1000)
        return web.json_response(answer)

    async def _wait(self) -> network.Driver:
        assert self._driver is not None
        try:
            async with asyncio.timeout(_START):
                return await asyncio.shield(self._driver)
        except TimeoutError:
            raise errors.Refused(
                "starting", "bgp-ipvlan is still starting: try again, and see its log"
            ) from None


@web.middleware
async def _always_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn every failure into one line that Docker shows its user."""
    name = request.path[1:]
    try:
        return await handler(request)
    except errors.Error as error:
        log.warning("refused call=%s reason=%s error=%s", name, error.reason, error)
        status = 400 if isinstance(error, errors.BadRequest) else 409
        return _error(status, f"{error} [{error.reason}]")
    except web.HTTPRequestEntityTooLarge:
        log.warning("refused call=%s reason=huge-body", name)
        return _error(413, f"the request has more than {MAX_BODY} octets [huge-body]")
    except web.HTTPException as error:
        return _error(error.status, error.reason)
    except TimeoutError:
        log.error("call not finished call=%s seconds=%d reason=timeout", name, _BOUND)
        return _error(504, f"{name} was not done in {_BOUND:.0f} s: see the log [timeout]")
    except Exception:
        log.exception("internal error call=%s", name)
        return _error(500, "internal error in bgp-ipvlan: see its log [internal-error]")


def _error(status: int, text: str) -> web.Response:
    # NetworkDriver's clients read Err, IpamDriver's Error (sheet, section 0.5).
    return web.json_response({"Err": text, "Error": text}, status=status)


def _inherited() -> socket.socket | None:
    """The socket systemd listens on for us (sd_listen_fds(3)), if it does."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        return None
    sock = socket.socket(fileno=_LISTEN_FDS_START)
    sock.set_inheritable(False)
    return sock


def _listen(path: pathlib.Path) -> socket.socket:
    """Bind the socket, over a dead one but never over a live one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_dead(path)
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise errors.ConfigError(
                "socket-in-use",
                f"another process answers on {path}: stop it, or give another --socket",
            ) from None
        raise errors.ConfigError(
            "plugin-socket",
            f"cannot listen on {path}: {error.strerror or error}: run as root, or give another --socket",
        ) from None
    return sock


def _remove_dead(path: pathlib.Path) -> None:
    """Remove a socket that a killed daemon left; raises EADDRINUSE if somebody answers."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
