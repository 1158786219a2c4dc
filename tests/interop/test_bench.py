"""The bench's programs against the real daemons, small: that it runs, not how fast."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal

import pytest

from bench import contenders, fib, installers, installing, measure, program, transfer, wire
from bench.cases import adopt, idle, join, latency
from lab import namespace


@pytest.mark.parametrize("name", contenders.ALL)
@pytest.mark.parametrize("settle", [True, False])
def test_transfer(name: str, settle: bool) -> None:
    """Each contender has all prefixes of all sessions, by its own tool, after they were sent."""
    done = transfer.run(name, sessions=3, routes=1000, settle=settle)
    assert done.connecting < done.first < done.learned


@pytest.mark.parametrize("install", [False, True])
@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("name", latency.CASE.contenders)
def test_way_of_single_routes(
    name: str, bursts: bool, install: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sample is seen on B, after A announced it; in whatever bursts."""
    monkeypatch.setattr(latency, "SAMPLES", 20)
    monkeypatch.setattr(latency, "LOAD", dataclasses.replace(latency.LOAD, routes=1000))
    ways = join.WAYS if install else latency.WAYS
    found = latency.way(ways[name], bursts=bursts, install=install)
    assert len(found) == latency.SAMPLES
    assert install or min(found) > 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", installers.ALL)
def test_installing(name: str, version: int) -> None:
    """All routes come into the FIB and all go with the session, as the kernel itself counts them."""
    done = installing.run(installers.ALL[name], version=version, routes=1000)
    assert done.first < done.last < done.closed < done.gone
    assert done.memory > 0


def test_raw_routes_are_like_ours() -> None:
    """What the raw way writes differs from the daemon's routes in nothing but the nexthop object."""
    shown = []
    for name in (installers.RAW, measure.OURS):
        with namespace.Lab() as lab, contextlib.ExitStack() as stack:
            sender, host = installing.wired(lab)
            table = stack.enter_context(contextlib.closing(fib.Fib(host, 4)))
            installer = installers.ALL[name](host)
            installer.start()
            installer.feed(sender, 4, 2).process.signal(signal.SIGUSR1)
            table.full(2, lambda: True)
            routes = host.routes("proto", "179")
            assert all(route.pop("nh_info")["id"] == route.pop("nhid") for route in routes)
            shown.append(routes)
    assert len(shown[0]) == 2
    assert shown[0] == shown[1]


@pytest.mark.parametrize("version", [4, 6])
def test_fib_sees_what_ip_sees(version: int) -> None:
    """The witness finds, counts and lists what `ip` put there, and waits in vain for what it did not."""
    with namespace.Lab() as lab:
        _, host = installing.wired(lab)
        first, last = (wire.address(n, version=version) for n in range(2))

        def ip(what: str, number: int) -> None:
            prefix = wire.prefix(number, version=version)
            host.run("ip", f"-{version}", "route", what, prefix, "dev", installers.INTERFACE)

        with contextlib.closing(fib.Fib(host, version)) as table:
            before = table.count()
            ip("add", 0)
            assert (table.has(first), table.has(last)) == (True, False)
            assert table.count() == before + 1
            assert first in table.dump()
            assert last not in table.dump()
            table.full(1, lambda: True)
            with pytest.raises(namespace.LabError, match="in vain for the last route"):
                table.full(2, lambda: False)
            with pytest.raises(namespace.LabError, match="in vain for routes to go"):
                table.empty(1, lambda: False)
            ip("del", 0)
            table.empty(1, lambda: True)
            # The last one alone is not all of them.
            ip("add", 1)
            with pytest.raises(namespace.LabError, match="in vain for the rest"):
                table.full(2, lambda: False)
            with pytest.raises(namespace.LabError, match="in vain for the rest"):
                table.empty(3, lambda: False)


def test_listener_counts_changes() -> None:
    """Each route that comes or goes is a change, in either family."""
    with namespace.Lab() as lab:
        _, host = installing.wired(lab)
        listener = program.Program(host, "kernelroute", "listen")
        listener.wait("started")
        for prefix in (wire.prefix(0), wire.prefix(0, version=6)):
            for what in ("add", "del"):
                host.run("ip", "route", what, prefix, "dev", installers.INTERFACE)
        listener.process.signal(signal.SIGUSR1)
        assert listener.wait("counted")["changes"] == 4


def test_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """All routes are adopted, in the order in which a start goes, and none is touched."""
    monkeypatch.setattr(adopt, "ROUTES", 1000)
    done = {name: values[0] for name, values in adopt.once(measure.OURS).items()}
    assert 0 < done["python"] < done["read"] < done["synced"]
    assert done["changes"] == 0


def test_idle() -> None:
    """What a process has used is counted."""
    done = idle.once(measure.OURS, seconds=0.1)
    assert done["memory"][0] > 1
    assert idle.busy(os.getpid()) > 0
