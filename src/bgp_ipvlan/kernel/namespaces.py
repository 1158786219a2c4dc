"""Looking for ipvlan slaves of our links in every network namespace of the machine.

Once a slave sits in a container nothing of it is left in the host's namespace, yet it fixes
the parent's mode, and whether it exists tells whether an endpoint lives.

A network namespace belongs to a thread, not to the process (setns(2) with CLONE_NEWNET). So
the look is taken by a thread made for it, which ends with it: no other code can ever run in
the wrong namespace. A child process would cost a start of Python each time.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pathlib
import socket
import struct
import threading
from collections.abc import Iterator

from bgp_ipvlan import model
from bgp_ipvlan.kernel import devices
from bgp_ipvlan.kernel import netlink as nl

_CLONE_NEWNET = 0x40000000
_NETNSA_NSID, _NETNSA_FD = 1, 3
_PLACES = (pathlib.Path("/run/docker/netns"), pathlib.Path("/run/netns"))


_CONTAINER_INITS = {"docker-init", "tini", "catatonit", "dumb-init"}
"""What is process 1 of a container that was started with an init."""


def scan_slaves() -> model.SlaveScan:
    """Find every ipvlan slave whose parent is a link of the caller's namespace. Blocks."""
    slaves: list[model.Slave] = []
    with pathlib.Path("/proc/thread-self/ns/net").open("rb") as home:
        here = os.fstat(home.fileno()).st_ino
        namespaces, complete = _namespaces()
        complete = complete and not confined()
        for inode, path in namespaces.items():
            found = _look(path, home.fileno(), "" if inode == here else path)
            if found is None:
                complete = False
            else:
                slaves += found
    return model.SlaveScan(tuple(slaves), complete)


def confined() -> bool:
    """Whether we run in a container that has processes of its own, and see none of the machine's."""
    if os.getpid() == 1:
        return True
    try:
        first = pathlib.Path("/proc/1/comm").read_text().strip()
    except OSError:
        return False
    return os.getppid() == 1 and first in _CONTAINER_INITS


def _namespaces() -> tuple[dict[int, str], bool]:
    """One path for each namespace: a process in it, or a file that keeps it."""
    found: dict[int, str] = {}
    complete = True
    for path in _paths():
        try:
            found.setdefault(path.stat().st_ino, str(path))
        except PermissionError:
            complete = False
        except OSError:
            continue  # the process ended, the file went
    return found, complete


def _paths() -> Iterator[pathlib.Path]:
    for place in _PLACES:
        with contextlib.suppress(OSError):
            yield from place.iterdir()
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdecimal():
            yield process / "ns/net"


def _look(path: str, home: int, name: str) -> list[model.Slave] | None:
    """Slaves in one namespace; None if it could not be looked into."""
    result: list[list[model.Slave] | None] = [None]

    def work() -> None:
        result[0] = _visit(path, home, name)

    thread = threading.Thread(target=work, name="look")
    thread.start()
    thread.join()
    return result[0]


def _visit(path: str, home: int, name: str) -> list[model.Slave] | None:
    try:
        with pathlib.Path(path).open("rb") as namespace:
            if name and _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                # A plain file below /run/netns whose namespace was unmounted is no namespace.
                return [] if ctypes.get_errno() == errno.EINVAL else None
        with nl.open_socket() as sock:
            # What this namespace calls ours; links whose parent is here have no such number.
            ours = _nsid(sock, home) if name else None
            return _slaves(sock, ours, name)
    except FileNotFoundError:
        return []
    except OSError:
        return None


_libc = ctypes.CDLL(None, use_errno=True)


def _nsid(sock: socket.socket, home: int) -> int:
    """This namespace's number for another; -1 if it has none."""
    body = b"\0" * 4 + nl.u32(_NETNSA_FD, home)
    sock.send(nl.message(nl.RTM_GETNSID, 0, body))
    for kind, _, answer in nl.messages(sock.recv(4096)):
        if kind == nl.NLMSG_ERROR:
            return -1
        value = nl.attributes(answer, 4).get(_NETNSA_NSID, b"\xff\xff\xff\xff")
        return int(struct.unpack("=i", value)[0])
    return -1


def _slaves(sock: socket.socket, ours: int | None, name: str) -> list[model.Slave]:
    if ours == -1:
        return []
    links = nl.table(sock, nl.RTM_GETLINK, devices.ALL_LINKS)
    found = (_slave(link, ours, name) for link in links)
    return [slave for slave in found if slave is not None]


def _slave(body: bytes, ours: int | None, name: str) -> model.Slave | None:
    """A link as a slave of one of our host's, or None if it is something else."""
    found = nl.attributes(body, devices.IFINFOMSG.size)
    kind, data = devices.info(found)
    if kind != devices.IPVLAN:
        return None
    parent_in = found.get(devices.IFLA_LINK_NETNSID)
    if (None if parent_in is None else struct.unpack("=i", parent_in)[0]) != ours:
        return None
    return model.Slave(
        name=nl.text(found[devices.IFLA_IFNAME]),
        alias=nl.text(found.get(devices.IFLA_IFALIAS, b"")),
        mode=devices.MODES[nl.number(data.get(devices.IFLA_IPVLAN_MODE, b""))],
        flag=devices.FLAGS[nl.number(data.get(devices.IFLA_IPVLAN_FLAGS, b""))],
        parent_index=nl.number(found.get(devices.IFLA_LINK, b"")),
        namespace=name,
    )
