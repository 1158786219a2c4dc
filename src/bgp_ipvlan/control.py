"""The control socket: HTTP over a unix socket of mode 0600, for our own command line.

Both ends live here: `ControlServer` in the daemon, `call` in the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import stat
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from bgp_ipvlan import errors, status

Json = dict[str, Any]
_TIMEOUT = 30.0


class ControlServer:
    """Answers the command line.

    Args:
        path: the socket.
        snapshot: what is asked about.
        stop: called by `POST /stop`; with True to withdraw first.
        forget: called by `POST /forget` with a network id or the beginning of one.
    """

    def __init__(
        self,
        path: pathlib.Path,
        snapshot: status.Status,
        *,
        stop: Callable[[bool], None],
        forget: Callable[[str], Awaitable[str]],
    ) -> None:
        self._path = path
        self._snapshot = snapshot
        self._stop = stop
        self._forget = forget
        application = web.Application(middlewares=[_errors_as_json])
        application.add_routes(
            [
                web.get("/status", lambda _: _answer(snapshot.summary())),
                web.get("/networks", lambda _: _answer({"networks": snapshot.networks()})),
                web.get("/routes", self._routes),
                web.get("/neighbors", lambda _: _answer({"neighbors": snapshot.neighbors()})),
                web.post("/stop", self._on_stop),
                web.post("/forget", self._on_forget),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen.

        Raises:
            errors.ConfigError: `control-socket`.
        """
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self._path.exists() and stat.S_ISSOCK(self._path.stat().st_mode):
                # Nobody answers there: the daemon's lock says that we are alone.
                self._path.unlink()
            await self._runner.setup()
            # Born with mode 0600: between bind and chmod anybody could connect.
            before = os.umask(0o177)
            try:
                await web.UnixSite(self._runner, self._path).start()
            finally:
                os.umask(before)
        except OSError as error:
            raise errors.ConfigError(
                "control-socket", f"cannot listen on {self._path}: {error.strerror}"
            ) from None

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        await self._runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _routes(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", "")
        return await _answer(self._snapshot.routes(int(text) if text.isdecimal() else None))

    async def _on_stop(self, request: web.Request) -> web.Response:
        self._stop(request.query.get("withdraw") == "1")
        return await _answer({"pid": os.getpid()})

    async def _on_forget(self, request: web.Request) -> web.Response:
        return await _answer({"network": await self._forget(request.query.get("network", ""))})


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.Error as error:
        body = {"error": str(error), "reason": error.reason}
        return web.json_response(body, status=409)


async def _answer(body: Json) -> web.Response:
    return web.json_response(body)


async def call(path: pathlib.Path, method: str, resource: str, **query: str) -> Json:
    """Ask the daemon.

    Args:
        path: its control socket.
        method: GET or POST.
        resource: for example `/status`.
        query: parameters.

    Raises:
        errors.Error: what the daemon refused; `not-running` when there is none.
    """
    connector = aiohttp.UnixConnector(path=str(path))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://bgp-ipvlan{resource}", params=query) as response,
        ):
            body: Json = await response.json()
            if response.status != 200:
                raise errors.Refused(
                    body.get("reason", "failed"), body.get("error", str(response.status))
                )
            return body
    except (aiohttp.ClientConnectorError, FileNotFoundError, PermissionError) as error:
        cause = getattr(error, "os_error", error)
        if isinstance(cause, PermissionError):
            raise errors.Error("no-permission", f"{path} is for root only: use sudo") from None
        raise errors.Error(
            "not-running",
            f"no bgp-ipvlan daemon answers on {path}: start it with `bgp-ipvlan run` "
            f"(or systemctl start bgp-ipvlan), or name its socket with --control",
        ) from None
    except (TimeoutError, aiohttp.ClientError) as error:
        raise errors.Error("no-answer", f"the daemon on {path} does not answer: {error}") from None


async def stop(path: pathlib.Path, *, withdraw: bool) -> None:
    """Stop the daemon and wait until it is gone.

    Raises:
        errors.Error: there is none, or it does not end.
    """
    answer = await call(path, "POST", "/stop", withdraw="1" if withdraw else "0")
    # A pidfd cannot be fooled by a number that is used again.
    try:
        pidfd = os.pidfd_open(answer["pid"])
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, gone.set)
    try:
        async with asyncio.timeout(_TIMEOUT):
            await gone.wait()
    except TimeoutError:
        raise errors.Error(
            "still-running", f"the daemon (pid {answer['pid']}) has not ended: see its log"
        ) from None
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
