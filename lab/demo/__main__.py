"""`make demo`: checks the machine, picks the kernel, tells the story, cleans up.

With --keep a keeper process goes on in the background; this one returns when
the hosts are up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import namespace, require, uml
from lab.demo import consoles, inside, kept, screen

_TIMEOUT = 600.0
"""Seconds after which a guest that tells its story is taken for stuck."""


def main() -> int:
    """Returns the exit status."""
    missing = require.missing("ipvlan")
    if missing:
        screen.failed(
            f"this machine lacks {', '.join(missing)}; `make demo` as root installs tools"
        )
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if "--keeper" in sys.argv:
            return _keeper()
        if "--keep" in sys.argv:
            return _keep()
        return _once()
    except KeyboardInterrupt:
        screen.say("interrupted; everything has been taken down")
        return 130
    except namespace.LabError as error:
        screen.failed(str(error))
        return 1


def _once() -> int:
    if require.needs_guest():
        with _guest() as guest:
            status = guest.wait(timeout=_TIMEOUT)
            _rescue_logs(guest)
    else:
        status = 0 if inside.tell(None) else 1
    screen.say()
    if status == 0:
        screen.say("That was all. Nothing of it is left on this machine.")
        screen.say("`make demo KEEP=1` leaves the hosts up for you.")
    return status


def _guest(*options: str) -> uml.Guest:
    screen.say(
        "This machine's kernel has no ipvlan, so the demo boots one that has: User-mode Linux,"
    )
    screen.say("an ordinary process, with this machine's files read-only. All is slower in there.")
    spec = uml.Spec(
        consoles=consoles.COUNT if options else 0,
        environment={screen.COLOR_VARIABLE: "1" if screen.colored() else "0"},
        show=(Path(sys.prefix), Path(sys.base_prefix)),
    )
    return uml.Guest([sys.executable, "-m", "lab.demo.inside", *options], spec, on_line=screen.say)


def _rescue_logs(guest: uml.Guest) -> None:
    logs = guest.exchange / inside.EXCHANGE_LOGS
    if logs.exists():
        folder = Path(tempfile.mkdtemp(prefix="bgp-ipvlan-demo-logs-"))
        shutil.copytree(logs, folder, dirs_exist_ok=True)
        screen.say(f"Logs are in {folder}")


def _keep() -> int:
    if kept.is_kept():
        raise namespace.LabError("hosts of an earlier demo are up: `lab/down` ends them")
    environment = {**os.environ, screen.COLOR_VARIABLE: "1" if screen.colored() else "0"}
    keeper = subprocess.Popen(
        [sys.executable, "-m", "lab.demo", "--keeper"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    assert keeper.stdout is not None
    try:
        for line in keeper.stdout:
            if line.startswith(inside.KEPT):
                _explain()
                return 0
            screen.say(line.rstrip("\n"))
        return keeper.wait()
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise


def _explain() -> None:
    screen.say()
    screen.say("The two hosts stay up. In this folder, as root:")
    screen.say()
    for command, meaning in (
        ("lab/enter host-a", "a shell on host-a; host-b likewise"),
        ("lab/enter host-a docker ps", "one command there"),
        ("lab/enter host-b bgp-ipvlan routes", "what host-b has learned"),
        ("lab/down", "end them; nothing is left then"),
    ):
        screen.say(f"    {command:<38}{meaning}")


def _keeper() -> int:
    with kept.keeping():
        if not require.needs_guest():
            return 0 if inside.tell(_announce_and_wait) else 1
        with _guest("--keep") as guest:
            return _serve(guest)


def _serve(guest: uml.Guest) -> int:
    def forward(line: str) -> None:
        if line.startswith(inside.KEPT):
            _announce(json.loads(line.removeprefix(inside.KEPT)), guest.consoles())
        else:
            screen.say(line)

    guest.on_line = forward
    status = guest.wait()
    _rescue_logs(guest)
    return status


def _announce_and_wait(hosts: dict[str, list[str]]) -> None:
    _announce(hosts, [])
    signal.pause()  # SIGTERM raises SystemExit


def _announce(hosts: dict[str, list[str]], ways_in: list[str]) -> None:
    kept.write(kept.State(pid=os.getpid(), hosts=hosts, consoles=ways_in))
    print(inside.KEPT, flush=True)
    # Who read us is about to leave, and a write to a closed pipe would end us.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.dup2(quiet, sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(main())
