"""Where kept hosts are written down: what `lab/enter` and `lab/down` read.

The keeper holds a lock on the file while it lives, so that a file left by a
killed one is known for what it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from lab import namespace

FOLDER = Path("/run/bgp-ipvlan-demo")
_FILE = FOLDER / "state.json"
_LOCK = FOLDER / "lock"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Hosts that are up."""

    pid: int
    """Of the keeper; SIGTERM ends it and all that is its."""
    hosts: dict[str, list[str]]
    """By name, the command line that begins a shell there."""
    consoles: list[str]
    """Terminals into the guest kernel; empty where the hosts are on this kernel."""


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Be the keeper.

    Raises:
        namespace.LabError: there is one already.
    """
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise namespace.LabError(
                "hosts of an earlier demo are up: `lab/down` ends them"
            ) from None
        _FILE.unlink(missing_ok=True)
        try:
            yield
        finally:
            _FILE.unlink(missing_ok=True)
            _LOCK.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                FOLDER.rmdir()


def write(state: State) -> None:
    """Tell where the hosts are; the keeper's to call."""
    new = _FILE.with_suffix(".new")
    new.write_text(json.dumps(dataclasses.asdict(state)))
    new.rename(_FILE)


def read() -> State | None:
    """The hosts that are up, or None."""
    if not is_kept():
        return None
    try:
        return State(**json.loads(_FILE.read_text()))
    except FileNotFoundError:
        return None


def is_kept() -> bool:
    """Whether a keeper lives."""
    try:
        with _LOCK.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def end(*, timeout: float = 30.0) -> bool:
    """End the keeper and its hosts; False if there is none."""
    state = read()
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while is_kept():
        if time.monotonic() > deadline:
            raise namespace.LabError(f"the keeper (pid {state.pid}) does not end")
        time.sleep(0.05)
    return True
