"""Tests here need a kernel with ipvlan: this one, or else User-mode Linux guests.

Inside a guest, and on a machine whose kernel has ipvlan, they run as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import agent, guestpytest, namespace, require, uml

HERE = Path(__file__).parent
_session = pytest.StashKey[guestpytest.Session]()


def pytest_runtest_protocol(item: pytest.Item) -> object:
    """Take the test's result from a guest instead of running it here."""
    # Pytest asks this hook for every test of the session, not only for this folder's.
    if not item.path.is_relative_to(HERE):
        return None
    if uml.inside() or require.missing("ipvlan") or not require.needs_guest():
        return None
    session = item.config.stash.get(_session, None)
    if session is None:
        mine = [one for one in item.session.items if one.path.is_relative_to(HERE)]
        session = item.config.stash[_session] = guestpytest.Session(mine)
        item.config.add_cleanup(session.close)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in session.results(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


A, B = "192.0.2.1", "192.0.2.2"
"""Two hosts on a wire; also 2001:db8::1 and ::2."""
HOSTS = tuple[agent.Agent, agent.Agent]
PLUGINS = tuple[agent.Plugin, agent.Plugin]


@contextlib.contextmanager
def pair(*, routers: bool = False) -> Iterator[HOSTS]:
    """Two hosts on a wire, peered by iBGP, forwarding on as Docker would have it.

    Args:
        routers: each is the other's default router.
    """
    with namespace.Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(a, "eth1", (f"{A}/24", "2001:db8::1/64")),
            namespace.Port(b, "eth1", (f"{B}/24", "2001:db8::2/64")),
        )
        agents = []
        for host, other in ((a, B), (b, A)):
            host.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
            if routers:
                host.run("ip", "route", "add", "default", "via", other)
            flags = ("--host-interface", "eth1", "--as", "64512", "--neighbor", other)
            agents.append(agent.Agent(host, *flags))
            agents[-1].start()
        for one in agents:
            one.established()
        yield agents[0], agents[1]


@pytest.fixture(scope="module")
def hosts() -> Iterator[HOSTS]:
    """Two hosts on a wire, without a default route."""
    with pair() as found:
        yield found


@pytest.fixture
def plugins(hosts: HOSTS) -> Iterator[PLUGINS]:
    """The plugins of both; afterwards what a test that failed has left is removed."""
    both = agent.Plugin(hosts[0].host), agent.Plugin(hosts[1].host)
    yield both
    for one, plugin in zip(hosts, both, strict=True):
        for container in tuple(plugin.containers):
            container.remove()
        for network in one.ask("networks")["networks"]:
            plugin.delete_network(network["id"])
