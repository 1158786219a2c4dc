"""Sees on the wire what somebody is asked for by ARP."""

from __future__ import annotations

import concurrent.futures
import ctypes
import ipaddress
import os
import socket
from pathlib import Path
from typing import Self

from lab import namespace

_ETH_P_ARP = 0x0806
_CLONE_NEWNET = 0x40000000
_REQUEST = b"\0\1"


class ArpWatch:
    """Listens on an interface of a host from now on. Use as a context manager."""

    def __init__(self, host: namespace.Host, interface: str) -> None:
        # A socket stays in the network namespace of the thread that opened it.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            self._socket = thread.submit(_open, host.pid, interface).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def asked(self, *, until: str) -> set[str]:
        """The addresses asked for so far.

        A wire keeps the order, so what was not seen before `until` was not asked for.

        Args:
            until: wait for a question for this address, at most 10 s.
        """
        found: set[str] = set()
        self._socket.settimeout(10)
        while until not in found:
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                raise namespace.LabError(f"nobody asked for {until}, only for {found}") from None
            # Ethernet has 14 octets; then RFC 826.
            if frame[20:22] == _REQUEST:
                found.add(str(ipaddress.IPv4Address(frame[38:42])))
        return found


def _open(pid: int, interface: str) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
    watch.bind((interface, _ETH_P_ARP))
    return watch
