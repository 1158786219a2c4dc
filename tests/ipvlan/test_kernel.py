"""The kernel that the tests of this folder run on keeps what we build on (kernel sheet, section 3)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import namespace


@pytest.fixture
def pair() -> Iterator[tuple[namespace.Host, namespace.Host]]:
    """Two hosts on a wire, each with forwarding on."""
    with namespace.Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.wire(
            namespace.Port(a, "eth1", ("192.0.2.1/24",)),
            namespace.Port(b, "eth1", ("192.0.2.2/24",)),
        )
        yield a, b


def _slave(host: namespace.Host, address: str, mode: str = "l3") -> None:
    """A container as a network namespace with one slave of eth1."""
    host.run("ip", "netns", "add", "container")
    host.run(
        "ip",
        "link",
        "add",
        "slave",
        "link",
        "eth1",
        "netns",
        "container",
        "type",
        "ipvlan",
        "mode",
        mode,
    )
    inside = ("ip", "-n", "container")
    host.run(*inside, "address", "add", address, "dev", "slave")
    host.run(*inside, "link", "set", "slave", "up")
    host.run(*inside, "route", "add", "default", "dev", "slave")


def test_l3_slaves_on_two_hosts_reach_each_other_by_one_route_each(
    pair: tuple[namespace.Host, namespace.Host],
) -> None:
    """Nothing but `remote-prefix via other-host` on each host is needed."""
    a, b = pair
    _slave(a, "10.1.1.2/24")
    _slave(b, "10.1.2.2/24")
    a.run("ip", "route", "add", "10.1.2.0/24", "via", "192.0.2.2", "dev", "eth1")
    argv = (
        "ip",
        "netns",
        "exec",
        "container",
        "ping",
        "-n",
        "-q",
        "-c",
        "1",
        "-W",
        "1",
        "10.1.2.2",
    )
    assert a.run(*argv, check=False).returncode != 0
    b.run("ip", "route", "add", "10.1.1.0/24", "via", "192.0.2.1", "dev", "eth1")
    a.run(*argv)


def test_a_slave_in_another_namespace_is_invisible_on_the_host(
    pair: tuple[namespace.Host, namespace.Host],
) -> None:
    """The mode in use on a parent cannot be read off the host's own links."""
    a, _ = pair
    _slave(a, "10.1.1.2/24")
    assert set(a.links()) == {"lo", "eth1"}
