"""A gobgpd of our own: started, looked after, ended with us.

Its API is a unix socket that root alone may use; by itself it would listen on all addresses
(kernel sheet, section 3). It is ended by SIGKILL: a SIGTERM makes it send a Cease, after which
neighbours forget our routes, while a mere loss of the connection lets them keep what graceful
restart was agreed for. Should we be killed, the kernel kills it (PR_SET_PDEATHSIG), so that the
next one finds port 179 free.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import pathlib
import re
import shlex
import shutil
import socket
import tomllib

from bgp_ipvlan import errors, model, ownership

log = logging.getLogger("bgp_ipvlan")

_LINE = re.compile(r"level=(?P<level>\w+) (?P<rest>.*)")
_LEVELS = {"debug": logging.DEBUG, "info": logging.DEBUG, "error": logging.ERROR}
"""What gobgpd calls info is a line for each of its steps."""
_FILE_ONLY = {"route-reflector", "route-server", "apply-policy", "error-handling", "bfd"}
_LONGEST = 30.0
"""Seconds between two starts, at most."""
_TRIES, _TRY = 10, 0.2
"""How often a port is tried, and the seconds in between."""
_ENOUGH = 60.0
"""Seconds after which one that ran is not one that fails at once."""


class Process:
    """See the module.

    Args:
        command: the program, and arguments of its own.
        document: its configuration, TOML; it may hold passwords.
        folder: for configuration and socket; of root's own.
    """

    def __init__(self, command: str, document: str, folder: pathlib.Path) -> None:
        self._command = shlex.split(command)
        self._document = document
        self._file = folder / ownership.GOBGPD_FILE
        self._socket = folder / ownership.GOBGPD_SOCKET
        self.generation = 0
        """How often it was started."""
        self._task: asyncio.Task[None] | None = None
        self._child: asyncio.subprocess.Process | None = None

    @property
    def api(self) -> str:
        """Where it is asked."""
        return f"unix:{self._socket}"

    async def start(self, *, restarted: bool) -> None:
        """Start it, and again whenever it ends.

        Args:
            restarted: neighbours may have kept routes of ours: the Restart State bit (`-r`).

        Raises:
            errors.EngineError: `gobgp-missing`.
        """
        if not self._command or shutil.which(self._command[0]) is None:
            raise errors.EngineError(
                "gobgp-missing",
                f"--gobgp-spawn: there is no program {' '.join(self._command)!r}: "
                f"apt-get install gobgpd, or give one with --gobgp-command",
            )
        try:
            self._write()
            await self._spawn(restarted=restarted)
        except OSError as error:
            raise errors.EngineError(
                "gobgp-missing", f"--gobgp-spawn: {self._command[0]} cannot be started: {error}"
            ) from error
        self._task = asyncio.create_task(self._look_after(), name="gobgpd")

    async def stop(self) -> None:
        """End it, without a word to the neighbours."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        for path in (self._socket, self._file):
            path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with open(fresh, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(self._document)
        fresh.chmod(0o600)
        fresh.replace(self._file)

    async def _spawn(self, *, restarted: bool) -> None:
        self._socket.unlink(missing_ok=True)
        arguments = ["-f", str(self._file), "--api-hosts", f"unix://{self._socket}"]
        arguments += ["--pprof-disable", "--log-plain", "--log-level", "warn"]
        arguments += ["--graceful-restart"] if restarted else []
        self._child = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *self._command, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            umask=0o177,
            # A Ctrl-C is for us alone: it would say goodbye to the neighbours.
            start_new_session=True,
        )
        self.generation += 1
        log.info("gobgpd started pid=%d", self._child.pid)

    async def _look_after(self) -> None:
        """Pass its log on; start it again when it ends."""
        loop = asyncio.get_running_loop()
        wait = 0.5
        while self._child is not None:
            started = loop.time()
            await self._read(self._child)
            status = await self._child.wait()
            wait = 0.5 if loop.time() - started > _ENOUGH else min(2 * wait, _LONGEST)
            log.error("gobgpd ended status=%d again_in=%g reason=gobgp-ended", status, wait)
            await asyncio.sleep(wait)
            try:
                await self._spawn(restarted=True)
            except OSError as error:
                log.error("gobgpd cannot be started reason=gobgp-ended error=%s", error)

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError:
                continue  # longer than any line that says something
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            found = _LINE.search(text)
            level = _LEVELS.get(found["level"], logging.WARNING) if found else logging.WARNING
            log.log(level, "gobgpd: %s", found["rest"] if found else text)


async def port_is_free(config: model.SpeakerConfig) -> None:
    """gobgpd would try for ever, and say so in its log alone.

    Raises:
        errors.EngineError: `port-in-use`.
    """  # noqa: D403 - a program
    for address in config.listen_addresses if config.listen_port else ():
        for left in reversed(range(_TRIES)):
            if _binds(address, config.listen_port):
                break
            if not left:
                raise errors.EngineError(
                    "port-in-use",
                    f"another process listens on {address} port {config.listen_port}: stop it (`ss "
                    f"-ltnp` tells which), use it with --gobgp-api if it is a gobgpd, or give "
                    f"another --listen or --listen-port",
                )
            # One of ours that was killed a moment ago may still hold it.
            await asyncio.sleep(_TRY)


def _binds(address: model.Address, port: int) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind((str(address), port))
            trial.listen()
        except OSError as error:
            # What else there may be gobgpd says better.
            return error.errno != errno.EADDRINUSE
        return True


def special(document: str) -> frozenset[model.Address]:
    """Neighbours of whom a configuration says what the API is not told when they are added anew."""
    neighbors = tomllib.loads(document).get("neighbors", ())
    return frozenset(
        ipaddress.ip_address(one["config"]["neighbor-address"])
        for one in neighbors
        if _FILE_ONLY & one.keys()
    )
