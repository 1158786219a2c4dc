"""The control socket: HTTP over a unix socket of mode 0600, for our own command line.

Both ends live here: `ControlServer` in the daemon, `call` in the command. A GET asks, with
parameters; a POST changes something, with a JSON body: passwords stay out of request lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from bgp_ipvlan import drain as drain_
from bgp_ipvlan import errors, operations, status, unixhttp

log = logging.getLogger("bgp_ipvlan")

Json = unixhttp.Json
_MAX_BODY = 1 << 16
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
_Question = Callable[[Mapping[str, str]], Json]


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
        self._questions = self._what_is_asked()
        self._actions = self._what_is_done()
        self._server = unixhttp.Server(self._answer, max_body=_MAX_BODY)

    def _what_is_asked(self) -> dict[str, _Question]:
        """GET."""
        shown = self._snapshot

        def routes(query: Mapping[str, str]) -> Json:
            limit = query.get("limit", "")
            return shown.routes(int(limit) if limit.isdecimal() else None)

        return {
            "/status": lambda _: shown.summary(),
            "/networks": lambda _: {"networks": shown.networks()},
            "/routes": routes,
            "/neighbors": lambda query: {
                "neighbors": shown.neighbors(query.get("address", "")),
                **shown.engine(),
            },
            "/drain": lambda _: {"drain": shown.drain()},
        }

    def _what_is_done(self) -> dict[str, _Action]:
        """POST."""
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
            sock = unixhttp.bind(self._path)
        except OSError as error:
            raise errors.ConfigError(
                "control-socket", f"cannot listen on {self._path}: {error.strerror or error}"
            ) from None
        await self._server.start(sock)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        await self._server.close(bound=_TIMEOUT)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _answer(self, request: unixhttp.Request) -> unixhttp.Response:
        try:
            return unixhttp.Response(await self._handle(request))
        except errors.Error as error:
            return unixhttp.Response({"error": str(error), "reason": error.reason}, 409)
        except Exception:
            log.exception("internal error call=%s", request.path)
            body = {
                "error": "internal error in bgp-ipvlan: see its log",
                "reason": "internal-error",
            }
            return unixhttp.Response(body, 500)

    async def _handle(self, request: unixhttp.Request) -> Json:
        if request.method == "GET" and (question := self._questions.get(request.path)):
            return question(request.query)
        if request.method == "POST" and (action := self._actions.get(request.path)):
            try:
                body = msgspec.json.decode(request.body or b"{}", type=_Body)
            except msgspec.MsgspecError as error:
                # A command of another version than the daemon's.
                raise errors.BadRequest("bad-request", f"not understood: {error}") from None
            done = action(body)
            return done if isinstance(done, dict) else await done
        raise errors.BadRequest("bad-request", f"there is no {request.method} {request.path} here")


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
    said: Any = {"body": values} if method == "POST" else {"query": values}
    try:
        async with asyncio.timeout(_TIMEOUT):
            status, body = await unixhttp.call(path, method, resource, **said)
    except PermissionError:
        raise errors.Error("no-permission", f"{path} is for root only: use sudo") from None
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise errors.Error(
            "not-running",
            f"no bgp-ipvlan daemon answers on {path}: start it with `bgp-ipvlan run` "
            f"(or systemctl start bgp-ipvlan), or name its socket with --control",
        ) from None
    except OSError as error:
        raise errors.Error("no-answer", f"the daemon on {path} does not answer: {error}") from None
    if status != 200:
        raise errors.Refused(body.get("reason", "failed"), body.get("error", str(status)))
    answer: Json = body
    return answer


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
