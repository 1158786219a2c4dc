"""Shells and commands on hosts inside the guest kernel, through its serial consoles.

A console is a terminal on both sides. Idle, the guest's side waits for one line
of JSON that says what to run; then the terminal belongs to that command; its
end is a NUL byte, the exit status and a newline.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import termios
import threading
import tty
from typing import Any

COUNT = 4
_BUSY = 75  # EX_TEMPFAIL


def serve(hosts: dict[str, list[str]]) -> None:
    """In the guest: serve all consoles, in threads that end with the process."""
    for number in range(1, COUNT + 1):
        path = f"/dev/tty{number}"
        threading.Thread(target=_serve_one, args=(path, hosts), daemon=True).start()


def _serve_one(path: str, hosts: dict[str, list[str]]) -> None:
    console = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(console)
    while True:
        try:
            request = json.loads(_line(console))
            argv = [*hosts[request["host"]], *request["argv"]]
            size = struct.pack("HHHH", request["rows"], request["columns"], 0, 0)
            env = {**os.environ, "TERM": request["term"]}
            terminal = bool(request["terminal"])
        except (ValueError, KeyError, TypeError, struct.error):
            continue
        status = _interactive(console, argv, env, size) if terminal else _piped(console, argv, env)
        os.write(console, b"\0%d\n" % status)


def _interactive(console: int, argv: list[str], env: dict[str, str], size: bytes) -> int:
    # A terminal of its own for each: a console that is somebody's controlling terminal is hung up
    # for good when that one ends.
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    owner = ("setsid", "--ctty", "--wait")
    with subprocess.Popen(
        [*owner, *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as child:
        os.close(theirs)
        with contextlib.suppress(OSError):  # EIO: nobody holds the other side any more
            while True:
                ready, _, _ = select.select([console, ours], [], [])
                if ours in ready:
                    os.write(console, os.read(ours, 65536))
                if console in ready:
                    os.write(ours, os.read(console, 4096))
        os.close(ours)
    return child.returncode


def _piped(console: int, argv: list[str], env: dict[str, str]) -> int:
    # Through a pipe, so that the command sees no terminal, as there is none outside.
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    ) as child:
        assert child.stdout is not None
        while data := child.stdout.read1():  # type: ignore[attr-defined]
            os.write(console, data)
    return child.returncode


def _line(console: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(console, 4096)
    return line


def use(consoles: list[str], host: str, argv: list[str]) -> int:
    """Outside: run a command, or a shell, on a host; returns the exit status."""
    for path in consoles:
        console = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.flock(console, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(console)
            continue
        try:
            return _talk(console, host, argv)
        finally:
            os.close(console)
    print(f"all {len(consoles)} ways into the guest are in use; leave one", file=sys.stderr)
    return _BUSY


def _talk(console: int, host: str, argv: list[str]) -> int:
    tty.setraw(console)
    termios.tcflush(console, termios.TCIOFLUSH)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    size = shutil.get_terminal_size()
    request: dict[str, Any] = {
        "host": host,
        "argv": argv,
        "terminal": terminal,
        "rows": size.lines,
        "columns": size.columns,
        "term": os.environ.get("TERM", "dumb"),
    }
    os.write(console, json.dumps(request).encode() + b"\n")
    if not terminal:
        return _relay(console, None)
    saved = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        return _relay(console, sys.stdin.fileno())
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def _relay(console: int, keyboard: int | None) -> int:
    tail = b""
    sources = [console, *([keyboard] if keyboard is not None else [])]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if keyboard is not None and keyboard in ready:
            os.write(console, os.read(keyboard, 1024))
        if console not in ready:
            continue
        shown, mark, rest = (tail + os.read(console, 65536)).partition(b"\0")
        _show(shown)
        tail = mark + rest
        if tail.endswith(b"\n"):
            return int(tail[1:])


def _show(data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
