"""Our daemon with one network and one neighbour, and nothing to do."""

from __future__ import annotations

import time
from pathlib import Path

from bench import contenders, installers, installing, measure, transfer
from lab import agent, namespace, peers

SECONDS = 30.0
_HOLD_TIME = 90
_SUBNET = "172.16.0.0/16"


def once(contender: str, *, seconds: float = SECONDS) -> measure.Samples:  # noqa: ARG001 - only ours
    """Memory after the start, in MB, and milliseconds of a core per second after that."""
    with namespace.Lab() as lab:
        other, host = installing.wired(lab)
        daemon = installers.ours(
            host, "--neighbor", f"{transfer.SENDER},hold={_HOLD_TIME}", without="links"
        )
        daemon.start()
        agent.Plugin(host).create_network(_SUBNET, host_access="off")
        peers.Bird(other, _neighbor()).start()
        daemon.established()
        memory = transfer.resident(daemon.process.pid)
        before = busy(daemon.process.pid)
        time.sleep(seconds)
        used = busy(daemon.process.pid) - before
        return {"memory": [memory / 1e6], "busy": [1000 * used / seconds]}


def busy(pid: int) -> float:
    """Seconds that the threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _neighbor() -> peers.Speaker:
    one = peers.Neighbor(address=transfer.RECEIVER, remote_as=contenders.AS, hold_time=_HOLD_TIME)
    return peers.Speaker(local_as=contenders.AS, router_id=str(transfer.SENDER), neighbors=(one,))


CASE = measure.Case(
    name="idle",
    contenders=(measure.OURS,),
    measures=(
        measure.Measure(
            title="resident memory, one network, one neighbour",
            samples="memory",
            unit="MB",
            goal=40,
        ),
        measure.Measure(
            title="… milliseconds of a core per second, over 30 s",
            samples="busy",
            unit="ms/s",
            goal=1,
        ),
    ),
    once=once,
)
