"""Behind a route reflector: next hops that it hands on, which are on no wire of ours."""

from __future__ import annotations

import json
import sys

from lab import agent, namespace
from tests.interop.site import ROOT

PREFIX = "10.50.1.0/24"
REFLECTOR = """
router id 192.0.2.2;
protocol device {}
protocol static { ipv4; route 10.255.0.3/32 via 192.0.2.3; }
template bgp one {
    local 192.0.2.2 as 64512;
    rr client;
    ipv4 { import all; export where source = RTS_BGP; };
}
protocol bgp here from one { neighbor 192.0.2.1 as 64512; }
protocol bgp edge from one { neighbor 192.0.2.3 as 64512; }
"""


def test_a_next_hop_that_it_hands_on() -> None:
    """What `recursive` is for: BIRD hands on the next hop of a router's loopback, and names it."""
    with namespace.Lab() as lab:
        here, mirror, edge = (lab.host(name) for name in ("here", "mirror", "edge"))
        lab.segment(
            *(
                namespace.Port(host, "eth1", (f"192.0.2.{number}/24",))
                for number, host in enumerate((here, mirror, edge), start=1)
            )
        )
        (mirror.directory / "bird.conf").write_text(REFLECTOR)
        mirror.start(
            "bird", "-f", "-c", mirror.directory / "bird.conf", "-s", "/run/b.ctl", log="bird.log"
        )
        said = {"prefix": PREFIX, "next_hop": "10.255.0.3", "fixed_next_hop": "10.255.0.3"}
        edge.start(
            *(sys.executable, "-m", "tests.interop.speaker", "--as", "64512"),
            *("--router-id", "192.0.2.3", "--neighbor", "192.0.2.2,64512"),
            *("--announce", json.dumps(said)),
            log="speaker.log",
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )
        flags = ("--host-interface", "eth1", "--as", "64512", "--neighbor", "192.0.2.2,recursive")
        daemon = agent.Agent(here, *flags)
        daemon.start()
        namespace.wait_until(lambda: daemon.ask("routes")["refused"], "the path")

        [refused] = daemon.ask("routes")["refused"]
        assert (refused["reason"], refused["next_hops"]) == ("nexthop-offlink", ["10.255.0.3"])
        assert refused["originator_id"] == "192.0.2.3"
        assert "nexthop-offlink, originated by 192.0.2.3" in daemon.run("routes")
        here.run("ip", "route", "add", "10.255.0.3", "via", "192.0.2.3")
        namespace.wait_until(lambda: here.routes("proto", "179"), "the route")
        [route] = here.routes("proto", "179")
        assert (route["dst"], route["gateway"]) == (PREFIX, "192.0.2.3")
