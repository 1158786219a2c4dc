"""Our daemon restarts and nothing has changed: its routes stay, and it knows them again.

Its neighbour restarts gracefully, as any speaker worth the name: it has kept its table, sends it
again, and says when that was all. The times are those of the daemon's own log.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import signal
import time

from bench import contenders, fib, installers, installing, measure, program, transfer
from bench.cases.routes import ROUTES
from bench.sender import HOLD_TIME
from lab import agent, namespace

_STAMP = r"(?m)^(\S+ \S+) INFO .*"


def once(contender: str) -> measure.Samples:  # noqa: ARG001 - only ours
    """One restart. Times in seconds from the start of the process."""
    with namespace.Lab() as lab:
        sender, receiver = installing.wired(lab)
        daemon = installers.ours(
            receiver, "--neighbor", f"{transfer.SENDER},passive,hold={HOLD_TIME}"
        )
        daemon.start()
        with contextlib.closing(fib.Fib(receiver, 4)) as table:
            load = contenders.Load(address=transfer.SENDER, sessions=1, routes=ROUTES)
            transfer.start_sender(sender, load, graceful_restart=True)
            table.full(ROUTES, lambda: True)
        daemon.established()
        daemon.stop()
        return _restart(receiver, daemon)


def _restart(host: namespace.Host, daemon: agent.Agent) -> measure.Samples:
    listener = program.Program(host, "kernelroute", "listen")
    listener.wait("started")
    before = len(daemon.log())
    start = time.time()
    daemon.start()
    daemon.established()
    listener.process.signal(signal.SIGUSR1)
    log = daemon.log()[before:]
    if f"routes_adopted={ROUTES} " not in log:
        raise namespace.LabError(f"not all adopted\n{log[-2000:]}")
    # The log goes to a file; its stamps are local time, in milliseconds.
    words = {"python": "listening", "read": "kernel read", "synced": "synced"}
    return {
        **{name: [_logged(log, word) - start] for name, word in words.items()},
        "changes": [float(listener.wait("counted")["changes"])],
    }


def _logged(log: str, word: str) -> float:
    """When a line with a word in it was first logged, in seconds since the epoch."""
    found = re.search(_STAMP + re.escape(word), log)
    if found is None:
        raise namespace.LabError(f"it has not logged {word!r}\n{log[-2000:]}")
    return dt.datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007 - it is local


CASE = measure.Case(
    name="adopt",
    contenders=(measure.OURS,),
    measures=(
        measure.Measure(
            title="restart with 100,000 /32: start of the process → all adopted, table complete",
            samples="synced",
            unit="s",
            goal=1,
        ),
        measure.Measure(title="… of that, until Python runs it", samples="python", unit="s"),
        measure.Measure(title="… until the kernel is read", samples="read", unit="s"),
        measure.Measure(
            title="… changes of routes in the kernel", samples="changes", unit="", goal=1
        ),
    ),
    once=once,
)
