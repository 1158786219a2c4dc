"""Hosts as namespaces, wires between them, processes in them.

A host is one holder process in its own network, mount, pid and uts namespace,
with its own /run, /sys, /var/lib, /var/tmp and hostname, so that everything that runs on
it finds the default paths of a real machine. The holder reads a pipe from us:
when we end, even by kill -9, the pipe closes, the holder ends, and the kernel
takes the host's processes, mounts and links with it. No link, route or
namespace name ever appears on the machine itself.

Nothing about Docker or BGP may enter this file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from lab import process

T = TypeVar("T")

PREFIX = "bgp-ipvlan-lab-"
"""Begins the name of everything a lab leaves on the machine while it runs: work folder, cgroups."""

# The cgroup mounts lie below /sys, so they are carried over to the new /sys (dockerd needs
# them). /proc/self is still the machine's when it is read, so it tells the pid outside.
# /run is shared within the host so that a chroot there sees the same mounts.
# /var/lib is an overlay because /var/lib/docker may not exist and nothing may be left there.
_HOLDER = r"""
set -eu
read -r pid _ </proc/self/stat
mount --make-rprivate /
mount -t tmpfs lab "$1"
mkdir "$1/cgroup" "$1/upper" "$1/work"
mount -t proc proc /proc
if [ -d /sys/fs/cgroup ]; then
    mount --rbind /sys/fs/cgroup "$1/cgroup"
    mount -t sysfs sysfs /sys
    mount --rbind "$1/cgroup" /sys/fs/cgroup
    umount --lazy "$1/cgroup"
fi
mount -t tmpfs -o mode=755 run /run
mount --make-shared /run
mkdir -m 755 /run/lock
mount -t tmpfs -o mode=1777 tmp /var/tmp
mount -t overlay -o "lowerdir=/var/lib,upperdir=$1/upper,workdir=$1/work" overlay /var/lib
hostname "$2"
for setting in all default lo; do
    echo 0 >/proc/sys/net/ipv6/conf/$setting/disable_ipv6 || true
done 2>/dev/null
ip link set lo up
echo "$pid"
read -r _ || true
"""


class LabError(Exception):
    """A part of the lab did not do what it must; the message says what and where the log is."""


def wait_until(condition: Callable[[], T], what: str, *, timeout: float = 30.0) -> T:
    """Poll until the condition holds; return what it returned.

    Args:
        condition: called every 20 ms; may raise `LabError` for "not yet".
        what: ends the sentence "timed out waiting for …".
        timeout: seconds.

    Raises:
        LabError: it did not hold in time.
    """
    deadline = time.monotonic() + timeout
    last = ""
    while True:
        try:
            value = condition()
        except LabError as error:
            last = f": {error}"
        else:
            if value:
                return value
        if time.monotonic() > deadline:
            raise LabError(f"timed out after {timeout:.0f} s waiting for {what}{last}")
        time.sleep(0.02)


@dataclasses.dataclass(frozen=True, slots=True)
class Port:
    """One end of a wire: an interface to be made on a host, with its addresses ("192.0.2.1/24")."""

    host: Host
    interface: str
    addresses: tuple[str, ...] = ()
    mtu: int | None = None


class Host:
    """A machine of the lab. Made by `Lab.host`."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._started: list[process.Process] = []
        self.directory = directory
        """For logs and files; the same path inside and outside."""
        directory.mkdir()
        scratch = directory / "scratch"
        scratch.mkdir()
        # The pipe's other end is only in this process (close-on-exec), so it closes with it.
        self._holder = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--uts", "--kill-child", "--"),
                *("bash", "-c", _HOLDER, "bgp-ipvlan-lab", str(scratch), name),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=process.environment(),
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        line = self._holder.stdout.readline().strip()
        if not line:
            _, complaint = self._holder.communicate()
            raise LabError(f"host {name} did not come up: {complaint.strip()}")
        self.pid = int(line)
        """Of the holder, as this machine sees it: `/proc/PID/ns/net`, `nsenter --target PID`."""

    @property
    def root(self) -> Path:
        """The host's file tree, seen from outside: sockets below it can be connected to."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *argv: str | Path) -> list[str]:
        """The command line that runs `argv` on this host, for a subprocess of one's own."""
        return [
            *("nsenter", "--target", str(self.pid), "--net", "--mount", "--uts", "--pid"),
            *("--wd=" + str(self.directory), "--", *map(str, argv)),
        ]

    def run(
        self, *argv: str | Path, check: bool = True, timeout: float = 60.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Raises:
            LabError: with its output, when it fails (unless `check` is false) or takes too long.
        """
        try:
            return process.run(self.command(*argv), check=check, timeout=timeout, stdin=stdin)
        except process.CommandError as error:
            shown = " ".join(map(str, argv))
            raise LabError(f"on {self.name}: `{shown}` {error}") from None

    def json(self, *argv: str | Path) -> Any:
        """Run a command that prints JSON, and read it; nothing printed is None."""
        output = self.run(*argv).stdout
        return json.loads(output) if output.strip() else None

    def start(
        self, *argv: str | Path, log: str, env: dict[str, str] | None = None
    ) -> process.Process:
        """Start a process that goes on; its output is appended to `directory/log`."""
        started = process.Process(
            self.command(*argv),
            log=self.directory / log,
            env=env,
            forks=True,
        )
        self._started.append(started)
        return started

    def routes(self, *selector: str, family: int = 4) -> list[dict[str, Any]]:
        """`ip -j route show SELECTOR`, the witness of the tests."""
        found: list[dict[str, Any]] = self.json(
            "ip", "-j", "-d", f"-{family}", "route", "show", *selector
        )
        return found or []

    def links(self) -> dict[str, dict[str, Any]]:
        """`ip -j -d address show` by interface name."""
        return {link["ifname"]: link for link in self.json("ip", "-j", "-d", "address", "show")}

    def ping(self, address: str, *, count: int = 1, timeout: float = 2.0) -> bool:
        """Whether an answer came to at least one echo request; `timeout` seconds for each."""
        argv = ("ping", "-n", "-q", "-c", str(count), "-i", "0.2", "-W", str(timeout), address)
        return self.run(*argv, check=False).returncode == 0

    def processes(self) -> list[int]:
        """Pids, as this machine sees them, of all that lives in the host's pid namespace."""
        return process.members(self.pid)

    def close(self) -> None:
        """End everything on the host. Twice is fine."""
        if self._holder.stdin is not None and not self._holder.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._holder.stdin.close()
        process.reap(self._holder)
        # The kernel has ended them with the namespace; their wrappers want to be waited for.
        for started in self._started:
            started.wait()
        for stream in (self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()


class Lab:
    """Makes hosts and wires; what it made ends with it.

    Use as a context manager. `directory` holds logs while it lives; `keep_logs`
    moves nothing, it only leaves the folder there for a person to read.
    """

    def __init__(self, *, keep_logs: bool = False) -> None:
        sweep()
        # Under another name until it is locked: else a lab that starts now could sweep it away.
        fresh = Path(tempfile.mkdtemp(prefix="new-" + PREFIX))
        # mkdtemp makes it 0700, but daemons that drop root (bird, frr) must reach theirs below.
        fresh.chmod(0o755)
        self._lock = own(fresh)
        self.directory = fresh.rename(fresh.with_name(fresh.name.removeprefix("new-")))
        self.keep_logs = keep_logs
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cgroup(self) -> str:
        """Name of the cgroup that containers of this lab belong under."""
        return self.directory.name

    def host(self, name: str) -> Host:
        """Boot one more host; `name` is also its hostname."""
        host = Host(name, self.directory / name)
        self.hosts[name] = host
        return host

    def wire(self, a: Port, b: Port) -> None:
        """Join two hosts by a cable of their own (a veth pair)."""
        process.run(
            [
                *_in_network_of(a.host),
                *("ip", "link", "add", a.interface, "type", "veth"),
                *("peer", "name", b.interface, "netns", str(b.host.pid)),
            ]
        )
        for port in (a, b):
            _configure(port)

    def segment(self, *ports: Port, name: str = "switch") -> Host:
        """Join any number of hosts by a switch, which is a host of its own; returns it."""
        switch = self.host(name)
        switch.run("ip", "link", "add", "br0", "type", "bridge")
        switch.run("ip", "link", "set", "br0", "up")
        for number, port in enumerate(ports):
            end = Port(switch, f"p{number}")
            self.wire(port, end)
            switch.run("ip", "link", "set", end.interface, "master", "br0")
        return switch

    def close(self) -> None:
        """End all hosts, in reverse, and take the folder away."""
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_cgroups, self.cgroup)
            if not self.keep_logs:
                stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            stack.callback(self._lock.close)
            for host in self.hosts.values():
                stack.callback(host.close)
        self.hosts.clear()


def _in_network_of(host: Host) -> list[str]:
    # Only the network namespace: `ip link … netns PID` means the pid in the caller's pid namespace.
    return ["nsenter", "--target", str(host.pid), "--net", "--"]


def _configure(port: Port) -> None:
    run, interface = port.host.run, port.interface
    if port.mtu is not None:
        run("ip", "link", "set", interface, "mtu", str(port.mtu))
    for address in port.addresses:
        # Without nodad an IPv6 address is tentative for a second, and sessions cannot bind to it.
        run(
            "ip",
            "address",
            "add",
            address,
            "dev",
            interface,
            *(["nodad"] if ":" in address else []),
        )
    run("ip", "link", "set", interface, "up")


def own(directory: Path) -> IO[str]:
    """Mark a folder as in use; the kernel drops the lock with the process, however it ends."""
    handle = (directory / "owner").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _abandoned(prefix: str) -> Iterator[Path]:
    for directory in Path(tempfile.gettempdir()).glob(prefix + "*"):
        try:
            with (directory / "owner").open() as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, just being made, or just gone
            continue
        yield directory


def sweep(prefix: str = PREFIX) -> None:
    """Take away what runs that were killed left: their folders and empty cgroups."""
    for directory in _abandoned(prefix):
        _remove_cgroups(directory.name)
        shutil.rmtree(directory, ignore_errors=True)


def _remove_cgroups(name: str) -> None:
    # A cgroup goes only when empty, and its processes may take a moment to be gone.
    for root in (*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup") / name):
        for directory, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError, LabError):
                wait_until(functools.partial(_rmdir, directory), "an empty cgroup", timeout=2)


def _rmdir(path: str) -> bool:
    try:
        Path(path).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
