"""The one thing most cases do: a sender's tables into a receiver, on two hosts and a wire."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from bench import contenders, program
from lab import namespace

RECEIVER = "198.18.0.1"
SENDER = ipaddress.IPv4Address("198.18.1.0")
"""Of the sender's first session; the addresses behind it are the others' (RFC 2544's range)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transfer:
    """What happened when, in seconds of the machine's monotonic clock, and what it took."""

    connecting: float
    """The sender's first connect."""
    first: float
    """Its first UPDATE."""
    learned: float
    """The receiver has a best path for every prefix."""
    memory: int
    """Octets by which the receiver's resident memory has grown meanwhile."""


def run(name: str, *, sessions: int, routes: int, settle: bool) -> Transfer:
    """Do it, from nothing to nothing.

    Args:
        name: of the contender.
        sessions: each from an address of its own.
        routes: of each session.
        settle: send only when the receiver has sent its own UPDATE, so that what it does about
            a new session is over; else as soon as the session is Established.

    Raises:
        namespace.LabError: it does not have them all.
    """
    load = contenders.Load(address=SENDER, sessions=sessions, routes=routes)
    with namespace.Lab() as lab:
        sending, receiving = lab.host("sender"), lab.host("receiver")
        lab.wire(
            namespace.Port(sending, "eth1"), namespace.Port(receiving, "eth1", (f"{RECEIVER}/16",))
        )
        add = "".join(f"address add {SENDER + n}/16 dev eth1\n" for n in range(sessions))
        sending.run("ip", "-batch", "-", stdin=add)
        receiver = contenders.ALL[name](receiving, RECEIVER, load)
        receiver.start()
        before = resident(receiver.pid)
        sender = start_sender(sending, load, settle=settle, refresh=receiver.refresh)
        learned = receiver.learned(sender)
        memory = resident(receiver.pid) - before
        if (count := receiver.count()) != load.total:
            raise namespace.LabError(f"{name} has {count} prefixes of {load.total}")
        connecting, first = (float(sender.wait(e)["time"]) for e in ("connecting", "first"))
        return Transfer(connecting, first, learned, memory)


def start_sender(
    host: namespace.Host,
    load: contenders.Load,
    *,
    receiver: str = RECEIVER,
    burst_every: float = 0.0,
    next_hops: Sequence[object] = (),
    **flags: bool,
) -> program.Program:
    """Start the sender; see `bench.sender`, also for the flags."""
    return program.Program(
        host,
        "sender",
        *("--as", contenders.AS, "--receiver", receiver, "--address", load.address),
        *("--sessions", load.sessions, "--routes", load.routes, "--burst-every", burst_every),
        *(word for hop in next_hops for word in ("--next-hop", hop)),
        *(f"--{name.replace('_', '-')}" for name, on in flags.items() if on),
    )


def resident(pid: int) -> int:
    """Resident memory of a process, in octets."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise namespace.LabError(f"process {pid} has no memory: it has ended")
    return int(found.group(1)) * 1024
