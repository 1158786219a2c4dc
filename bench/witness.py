"""Asking a daemon over its control socket, without a process per question.

A birdc or vtysh per question costs 10 ms of a core, which the daemon may need; this costs the
daemon some 10 µs. Each asks for one prefix, so the answer does not depend on the table's size.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

from bench import wire
from lab import namespace


class Birdc:
    """BIRD's control socket, as birdc uses it."""

    def __init__(self, path: Path) -> None:
        self._socket = _connect(path)
        self._read()

    def has(self, number: int) -> bool:
        """Whether BIRD has chosen a route for prefix number n (which it does as it takes it in)."""
        _ask(self._socket, f"show route {wire.prefix(number)} primary\n")
        return self._read().startswith(b"1007")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self) -> bytes:
        answer = b""
        while not complete(answer):
            answer += _some(self._socket)
        return answer


class Vty:
    """bgpd's socket, as vtysh uses it: questions end with one NUL, answers with three and a status."""

    def __init__(self, path: Path) -> None:
        self._socket = _connect(path)

    def has(self, number: int) -> bool:
        """Whether bgpd has chosen a best path for prefix number n (which comes after taking it in)."""
        _ask(self._socket, f"show bgp ipv4 unicast {wire.prefix(number)} json\0")
        answer = b""
        while answer[-4:-1] != b"\0\0\0":
            answer += _some(self._socket)
        with contextlib.suppress(json.JSONDecodeError):
            paths = json.loads(answer[:-4]).get("paths", [])
            return any(path.get("bestpath", {}).get("overall") for path in paths)
        return False

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def complete(answer: bytes) -> bool:
    """Whether BIRD's answer has come to its end: a last line with a space behind its code."""
    return answer.endswith(b"\n") and answer.splitlines()[-1][4:5] == b" "


def _connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(30.0)
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise namespace.LabError(f"cannot ask {path}: {error}") from None
    return sock


def _ask(sock: socket.socket, question: str) -> None:
    try:
        sock.sendall(question.encode())
    except OSError as error:
        raise namespace.LabError(f"cannot ask {question!r}: {error}") from None


def _some(sock: socket.socket) -> bytes:
    try:
        data = sock.recv(1 << 16)
    except OSError as error:
        raise namespace.LabError(f"no answer: {error}") from None
    if not data:
        raise namespace.LabError("no answer: it hung up")
    return data
