"""A routing table of the administrator's choice (`--table`): the daemon on a real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bgp_ipvlan import model
from lab import agent, namespace
from tests.interop.site import THEM, THEM6, US, US6, OurSpeaker
from tests.netns import conftest as c

FOUR, SIX, LATER = "10.2.0.0/24", "2001:db8:2::/64", "10.3.0.0/24"


class Site:
    """The daemon on one host; on the other a speaker that announces.

    Args:
        lab: makes them.
    """

    def __init__(self, lab: namespace.Lab) -> None:
        self.host, far = lab.host("here"), lab.host("there")
        lab.wire(
            namespace.Port(self.host, "eth1", (f"{THEM}/24", f"{THEM6}/64")),
            namespace.Port(far, "eth1", (f"{US}/24", f"{US6}/64")),
        )
        self.speaker = OurSpeaker(far, 64513, f"{THEM},64512")
        self.speaker.start(f"{FOUR},{US}", f"{SIX},{US6}", f"{LATER},{US}")
        self.daemon: agent.Agent

    def start(self, *flags: str) -> None:
        """The daemon, with these."""
        always = ("--host-interface", "eth1", "--as", "64512", "--neighbor", f"{US},as=64513")
        self.daemon = agent.Agent(self.host, *always, *flags)
        self.daemon.start()
        self.daemon.established()

    def ours(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Our routes by table and prefix."""
        return {
            (str(route.get("table", "main")), route["dst"]): route
            for family in (4, 6)
            for route in self.host.routes("table", "all", "proto", "179", family=family)
        }

    def wait(self, number: str, *prefixes: str) -> None:
        """Wait until these are our routes, in that table and no other."""
        expected = {(number, prefix) for prefix in prefixes}
        try:
            namespace.wait_until(lambda: self.ours().keys() == expected, f"{expected}")
        except namespace.LabError as error:
            raise namespace.LabError(f"{error}; there are {self.ours().keys()}") from None

    def warned(self) -> list[str]:
        """The warnings of status about rules."""
        return [w for w in self.daemon.ask("status")["warnings"] if "[no-rule]" in w]

    def ip(self, command: str) -> None:
        """The administrator's hand."""
        c.ip(self.host, command)


@pytest.fixture
def site() -> Iterator[Site]:
    """The other host announces; the daemon is not started."""
    with namespace.Lab() as lab:
        yield Site(lab)


@pytest.mark.parametrize("number", ["100", "70000", "4294967295"])
def test_routes_are_in_the_table(site: Site, number: str) -> None:
    """All of them, whatever its number is, and the main table has none; `cleanup` finds them."""
    site.start("--table", number)
    site.wait(number, FOUR, SIX, LATER)

    found = site.ours()
    assert (found[number, FOUR]["gateway"], found[number, FOUR]["dev"]) == (US, "eth1")
    assert (found[number, SIX]["gateway"], found[number, SIX]["metric"]) == (US6, 17900)
    assert {"192.0.2.0/24"} == {route["dst"] for route in site.host.routes()}
    lines = [line for line in site.daemon.run("routes").splitlines() if FOUR in line]
    assert [f"table {number}" in line for line in lines] == [True]
    site.daemon.stop()
    site.daemon.run("cleanup")
    site.wait(number)


def test_others_routes(site: Site) -> None:
    """One in the table wins, there before us or later; one in the main table does not matter."""
    site.ip(f"route add {FOUR} via {US} proto static table 100")
    site.ip(f"route add {LATER} via {US} proto static")
    site.start("--table", "100")
    site.wait("100", SIX, LATER)
    site.ip(f"-6 route add {SIX} via {US6} proto static table 100")
    site.wait("100", LATER)
    refused = {one["prefix"]: one["reason"] for one in site.daemon.ask("routes")["refused"]}
    assert refused == {FOUR: "foreign-route", SIX: "foreign-route"}

    site.ip(f"route del {FOUR} table 100")
    site.ip(f"route del {LATER}")
    site.wait("100", FOUR, LATER)
    assert [r["dst"] for r in site.host.routes("table", "100", "proto", "4", family=6)] == [SIX]


def test_another_table_after_a_restart(site: Site) -> None:
    """Routes move with it, from and to the main table; a stranger's in the old one stays."""
    site.start()
    site.wait("main", FOUR, SIX, LATER)
    for number, before in (("100", "main"), ("70000", "100"), ("main", "70000")):
        site.ip(f"route add 10.99.0.0/24 via {US} proto static table {before}")
        site.daemon.stop()
        site.wait(before, FOUR, SIX, LATER)
        site.start(*(() if number == "main" else ("--table", number)))
        site.wait(number, FOUR, SIX, LATER)
        left = site.host.routes("table", before, "proto", "static")
        assert [route["dst"] for route in left] == ["10.99.0.0/24"]


def test_a_rule_has_to_lead_there(site: Site) -> None:
    """Log and status say which are missing, until there are; then packets follow our routes."""
    site.start("--table", "100")
    site.wait("100", FOUR, SIX, LATER)
    namespace.wait_until(lambda: len(site.warned()) == 2, "a warning for each family")
    assert "`ip rule add priority 1000 lookup 100`" in site.warned()[0]
    assert "`ip -6 rule add priority 1000 lookup 100`" in site.warned()[1]
    namespace.wait_until(lambda: site.daemon.log().count("reason=no-rule") == 2, "the log")
    assert site.host.run("ip", "route", "get", "10.2.0.1", check=False).returncode != 0

    site.ip("rule add priority 1000 lookup 100")

    namespace.wait_until(lambda: len(site.warned()) == 1, "one less")
    assert f"via {US} dev eth1 table 100" in site.host.run("ip", "route", "get", "10.2.0.1").stdout
    site.ip("-6 rule add priority 1000 lookup 100")
    namespace.wait_until(lambda: not site.warned(), "none")
    site.ip("rule del priority 1000")
    namespace.wait_until(lambda: len(site.warned()) == 1, "one again")


def test_no_warning_where_nothing_is_missed(site: Site) -> None:
    """As a host is, with routes in the main table."""
    site.start()
    site.wait("main", FOUR, SIX, LATER)
    site.ip("rule add priority 1000 lookup 100")
    site.ip("rule del priority 1000")

    assert site.warned() == []
    assert "no-rule" not in site.daemon.log()


@pytest.mark.parametrize("number", ["255", "0", "-1", "4294967296"])
def test_tables_that_cannot_be(site: Site, number: str) -> None:
    """The kernel's own table of local addresses, and what is no table."""
    command = (agent.COMMAND, "run", "--as", "64512", f"--table={number}")
    done = site.host.run(*command, check=False)

    assert done.returncode != 0
    assert f"--table {number}" in done.stderr
    assert "[bad-value]" in done.stderr


def test_rules_as_read(site: Site) -> None:
    """Those that look into a table, and the one for VRFs; a `blackhole` looks nowhere."""
    for words in (
        "priority 100 to 10.0.0.0/8 lookup 70000",
        "priority 101 blackhole to 203.0.113.0/24",
        "priority 102 goto 32766",
    ):
        site.ip(f"rule add {words}")
    site.ip("-6 rule add priority 100 l3mdev")

    async def main() -> tuple[dict[model.Family, model.Rules], int]:
        async with c.started() as kernel:
            found = await kernel.routes.rules()
            site.ip("rule del priority 100")
            await kernel.until(lambda: kernel.events.rules > 0)
            return dict(found), kernel.events.rules

    found, events = c.inside(site.host, main)
    local, rest = 255, 253
    assert found == {
        model.Family.IPV4: model.Rules(frozenset({local, model.MAIN, rest, 70000})),
        model.Family.IPV6: model.Rules(frozenset({local, model.MAIN}), l3mdev=True),
    }
    assert events == 1
