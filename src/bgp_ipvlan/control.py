"""The control socket: HTTP over a unix socket of mode 0600, for our own command line.

Both ends live here: `ControlServer` in the daemon, `call` in the command. A GET asks, with
parameters; a POST changes something, with a JSON body: passwords stay out of request lines.
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
import msgspec
from aiohttp import web

from bgp_ipvlan import drain as drain_
from bgp_ipvlan import errors, operations, status

Json = dict[str, Any]
_TIMEOUT = 30.0
_PROGRESS = 0.2
"""Seconds between two looks at a drain."""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """What a POST may say."""

    network: str = ""
    neighbor: str = ""
    message: str = ""
    soft: bool = False
    wait: float = drain_.WAIT
    withdraw: bool = False


_Action = Callable[[_Body], Json | Awaitable[Json]]


class ControlServer:
    """Answers the command line.

    Args:
        path: the socket.
        snapshot: what is asked about.
        operations: what can be done.
        stop: called by `POST /stop`; with True to withdraw first, and the message for it.
        forget: called by `POST /forget` with a network id or the beginning of one.
    """

    def __init__(
        self,
        path: pathlib.Path,
        snapshot: status.Status,
        operations: operations.Operations,
        *,
        stop: Callable[[bool, str], None],
        forget: Callable[[str], Awaitable[str]],
    ) -> None:
        self._path = path
        self._snapshot = snapshot
        self._operations = operations
        self._stop = stop
        self._forget = forget
        application = web.Application(middlewares=[_errors_as_json])
        application.add_routes(
            [
                web.get("/status", lambda _: _answer(snapshot.summary())),
                web.get("/networks", lambda _: _answer({"networks": snapshot.networks()})),
                web.get("/routes", self._on_routes),
                web.get("/neighbors", self._on_neighbors),
                web.get("/drain", lambda _: _answer({"drain": snapshot.drain()})),
                *(web.post(path, self._posted(act)) for path, act in self._actions().items()),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    def _actions(self) -> dict[str, _Action]:
        """What a POST does."""
        do, shown = self._operations, self._snapshot

        def reset(body: _Body) -> Json:
            address = do.reset(body.neighbor, soft=body.soft, message=body.message)
            return {"neighbor": str(address)}

        async def drain(body: _Body) -> Json:
            await do.drain.begin(wait=body.wait, message=body.message)
            return {"drain": shown.drain()}

        async def undrain(_: _Body) -> Json:
            await do.drain.end()
            return {"drain": shown.drain()}

        def stop(body: _Body) -> Json:
            self._stop(body.withdraw, drain_.check_message(body.message))
            return {"pid": os.getpid()}

        async def forget(body: _Body) -> Json:
            return {"network": await self._forget(body.network)}

        return {
            "/stop": stop,
            "/forget": forget,
            "/reload": lambda _: do.reload(),
            "/neighbors/add": lambda body: shown.one_neighbor(do.add(body.neighbor).address),
            "/neighbors/set": lambda body: shown.one_neighbor(do.set(body.neighbor).address),
            "/neighbors/remove": lambda body: {"neighbor": str(do.remove(body.neighbor))},
            "/neighbors/reset": reset,
            "/drain": drain,
            "/undrain": undrain,
        }

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

    async def _on_routes(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", "")
        return await _answer(self._snapshot.routes(int(text) if text.isdecimal() else None))

    async def _on_neighbors(self, request: web.Request) -> web.Response:
        address = request.query.get("address", "")
        return await _answer({"neighbors": self._snapshot.neighbors(address)})

    @staticmethod
    def _posted(act: _Action) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                body = msgspec.json.decode(await request.read() or b"{}", type=_Body)
            except msgspec.MsgspecError as error:
                # A command of another version than the daemon's.
                raise errors.BadRequest("bad-request", f"not understood: {error}") from None
            done = act(body)
            return await _answer(done if isinstance(done, dict) else await done)

        return handle


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


async def call(path: pathlib.Path, method: str, resource: str, **values: Any) -> Json:
    """Ask the daemon.

    Args:
        path: its control socket.
        method: GET or POST.
        resource: for example `/status`.
        values: parameters of a GET, which are text; the body of a POST.

    Raises:
        errors.Error: what the daemon refused; `not-running` when there is none.
    """
    connector = aiohttp.UnixConnector(path=str(path))
    said: dict[str, Any] = {"json" if method == "POST" else "params": values}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://bgp-ipvlan{resource}", **said) as response,
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


async def drain(
    path: pathlib.Path, *, wait: float, message: str, show: Callable[[Json], None]
) -> Json:
    """Drain the host, and wait until it is done; ending the command does not end the drain.

    Args:
        path: the control socket.
        wait: seconds between the mark and the end.
        message: shutdown communication.
        show: told how far it is, now and then.

    Returns:
        As `GET /drain`.

    Raises:
        errors.Error: it is refused; `not-drained` if somebody ends it meanwhile.
    """
    answer = await call(path, "POST", "/drain", wait=wait, message=message)
    while answer["drain"] is not None and not answer["drain"]["done"]:
        show(answer["drain"])
        await asyncio.sleep(_PROGRESS)
        answer = await call(path, "GET", "/drain")
    if answer["drain"] is None:
        raise errors.Error("not-drained", "somebody has ended it with `bgp-ipvlan undrain`")
    return answer


async def stop(path: pathlib.Path, *, withdraw: bool, message: str = "") -> None:
    """Stop the daemon and wait until it is gone.

    Raises:
        errors.Error: there is none, or it does not end.
    """
    answer = await call(path, "POST", "/stop", withdraw=withdraw, message=message)
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
