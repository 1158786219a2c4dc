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

from bgp_ipvlan import errors, unixhttp
from bgp_ipvlan.docker import ipam, network, wire

log = logging.getLogger("bgp_ipvlan")

MAX_BODY = 1 << 20
"""Octets. The largest real body, a CreateEndpoint with every port exposed, is a few KiB."""
_START = 20.0
"""Seconds a call waits for the daemon to be ready."""
_BOUND = 25.0
"""Seconds a handler may take: managed plugins are given 30."""
_LISTEN_FDS_START = 3

Handler = Callable[[Any, Any], Awaitable[wire.Json]]
"""A method of the driver whose call it is, and the decoded body."""


async def _nothing(_driver: object, _request: object) -> wire.Json:
    return {}


async def _no_value(_driver: object, _request: object) -> wire.Json:
    return {"Value": {}}


_CALLS: dict[str, tuple[type, Handler]] = {
    # Every call of the network driver with the shape of its body (sheet, section 10.1).
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

_IPAM_CALLS: dict[str, tuple[type, Handler]] = {
    "RequestPool": (wire.RequestPool, ipam.Driver.request_pool),
    "ReleasePool": (wire.PoolRef, ipam.Driver.release_pool),
    "RequestAddress": (wire.AddressRef, ipam.Driver.request_address),
    "ReleaseAddress": (wire.AddressRef, ipam.Driver.release_address),
}

_TABLES = {"NetworkDriver": _CALLS, "IpamDriver": _IPAM_CALLS}

_STATIC: dict[str, wire.Json] = {
    "Plugin.Activate": {"Implements": ["NetworkDriver", "IpamDriver"]},
    # No MAC addresses: ipvlan slaves have their parent's. No replay: our books are on disk.
    "IpamDriver.GetCapabilities": {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    "IpamDriver.GetDefaultAddressSpaces": {
        "LocalDefaultAddressSpace": ipam.SPACE,
        "GlobalDefaultAddressSpace": ipam.SPACE,
    },
    # Scope as Docker's own ipvlan driver: networks are local, containers are reachable globally.
    "NetworkDriver.GetCapabilities": {
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
        self._drivers: asyncio.Future[tuple[network.Driver, ipam.Driver]] | None = None
        self._server = unixhttp.Server(self._answer, max_body=MAX_BODY)

    async def start(self) -> None:
        """Listen.

        Raises:
            errors.ConfigError: `socket-in-use`, `plugin-socket`.
        """
        self._drivers = asyncio.get_running_loop().create_future()
        sock = _inherited()
        self._ours = sock is None
        if sock is None:
            sock = _listen(self._path)
        await self._server.start(sock)

    def ready(self, driver: network.Driver, addresses: ipam.Driver) -> None:
        """From now on calls are served."""
        assert self._drivers is not None
        self._drivers.set_result((driver, addresses))

    async def close(self) -> None:
        """Finish what is being served, stop listening, remove the socket if we made it."""
        await self._server.close(bound=_BOUND)
        if self._ours:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _answer(self, request: unixhttp.Request) -> unixhttp.Response:
        """Turn every failure into one line that Docker shows its user."""
        name = request.path[1:]
        try:
            return await self._handle(name, request)
        except errors.Error as error:
            log.warning("refused call=%s reason=%s error=%s", name, error.reason, error)
            status = 400 if isinstance(error, errors.BadRequest) else 409
            return _error(status, f"{error} [{error.reason}]")
        except TimeoutError:
            log.error("call not finished call=%s seconds=%d reason=timeout", name, _BOUND)
            return _error(504, f"{name} was not done in {_BOUND:.0f} s: see the log [timeout]")
        except Exception:
            log.exception("internal error call=%s", name)
            return _error(500, "internal error in bgp-ipvlan: see its log [internal-error]")

    async def _handle(self, name: str, request: unixhttp.Request) -> unixhttp.Response:
        if request.method != "POST":
            return _error(405, f"{request.method} is not possible here: Docker uses POST")
        if request.body is None:
            log.warning("refused call=%s reason=huge-body", name)
            return _error(413, f"the request has more than {MAX_BODY} octets [huge-body]")
        if name in _STATIC:
            return unixhttp.Response(_STATIC[name])
        whose, _, short = name.partition(".")
        call = _TABLES.get(whose, {}).get(short)
        if call is None:
            return _error(404, f"bgp-ipvlan does not implement {name}")
        started = time.monotonic()
        kind, handler = call
        message: Any = wire.decode(request.body, kind)
        driver, addresses = await self._wait()
        async with asyncio.timeout(_BOUND):
            answer = await handler(addresses if whose == "IpamDriver" else driver, message)
        log.debug("call=%s ms=%.1f", name, (time.monotonic() - started) * 1000)
        return unixhttp.Response(answer)

    async def _wait(self) -> tuple[network.Driver, ipam.Driver]:
        assert self._drivers is not None
        try:
            async with asyncio.timeout(_START):
                return await asyncio.shield(self._drivers)
        except TimeoutError:
            raise errors.Refused(
                "starting", "bgp-ipvlan is still starting: try again, and see its log"
            ) from None


def _error(status: int, text: str) -> unixhttp.Response:
    # NetworkDriver's clients read Err, IpamDriver's Error (sheet, section 0.5).
    return unixhttp.Response({"Err": text, "Error": text}, status)


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
    try:
        return unixhttp.bind(path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise errors.ConfigError(
                "socket-in-use",
                f"another process answers on {path}: stop it, or give another --socket",
            ) from None
        raise errors.ConfigError(
            "plugin-socket",
            f"cannot listen on {path}: {error.strerror or error}: run as root, or give another --socket",
        ) from None
