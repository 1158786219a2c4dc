"""A sender's table into the FIB of another host, and out of it again when the session is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Callable

from bench import fib, installers, transfer
from lab import namespace


@dataclasses.dataclass(frozen=True, slots=True)
class Installed:
    """What happened when, in seconds of the machine's monotonic clock, and what it took."""

    first: float
    """The first UPDATE was about to be written."""
    last: float
    """All routes are in the FIB."""
    memory: int
    """Octets of resident memory then."""
    closed: float
    """The session was about to be lost."""
    gone: float
    """No route of it is in the FIB."""


def run(
    make: Callable[[namespace.Host], installers.Installer], *, version: int, routes: int
) -> Installed:
    """Do it, from nothing to nothing.

    Args:
        make: the contender.
        version: of IP.
        routes: how many.

    Raises:
        namespace.LabError: they do not come, or do not go.
    """
    with namespace.Lab() as lab:
        sender, receiver = wired(lab)
        installer = make(receiver)
        installer.start()
        try:
            return _measured(installer, sender, receiver, version=version, routes=routes)
        except namespace.LabError as error:
            logs = [one.tail() for one in installer.processes]
            raise namespace.LabError("\n".join((str(error), *logs))) from None


def _measured(
    installer: installers.Installer,
    sender: namespace.Host,
    receiver: namespace.Host,
    *,
    version: int,
    routes: int,
) -> Installed:
    """Fill and empty."""

    def alive() -> bool:
        return all(one.alive for one in installer.processes)

    with contextlib.closing(fib.Fib(receiver, version)) as table:
        feeder = installer.feed(sender, version, routes)
        feeder.process.signal(signal.SIGUSR1)
        last = table.full(routes, alive)
        memory = sum(transfer.resident(one.pid) for one in installer.processes)
        feeder.process.signal(signal.SIGUSR2)
        # What is raw ends with its routes.
        gone = table.empty(routes, lambda: True)
    first, closed = (float(feeder.wait(event)["time"]) for event in ("first", "closed"))
    return Installed(first, last, memory, closed, gone)


def wired(lab: namespace.Lab) -> tuple[namespace.Host, namespace.Host]:
    """Sender and receiver on a wire."""
    hosts = {name: quiet(lab.host(name)) for name in installers.ADDRESSES}
    lab.wire(
        *(
            namespace.Port(host, installers.INTERFACE, installers.ADDRESSES[name])
            for name, host in hosts.items()
        )
    )
    return hosts["sender"], hosts["receiver"]


def quiet(host: namespace.Host) -> namespace.Host:
    """A host whose new addresses are there at once.

    Else the end of duplicate address detection, a second after the link came up, is news of the
    links in the middle of what is measured.
    """
    host.run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
    return host
