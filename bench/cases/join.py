"""A container joins a network with -o bgp.advertise=endpoint: the answer to Join → another host's FIB.

Ours from the plugin's socket on A to B's kernel, all of both daemons between them; BIRD from A's
kernel to B's, as in `latency`. The bursts of B's other neighbour change every route in B's kernel.
"""

from __future__ import annotations

import secrets
import time

from bench import installers, measure, program, samples
from bench.cases import latency
from bench.sender import HOLD_TIME
from lab import agent

_GATEWAY = "172.16.255.254/16"


def ours(site: latency.Site) -> list[float]:
    """From Join's answer on A to B's kernel."""
    neighbor = "{},no-graceful-restart,hold={}"
    b = installers.ours(
        site.b,
        *("--neighbor", neighbor.format(latency.A, HOLD_TIME) + ",passive"),
        *("--neighbor", neighbor.format(latency.LOAD.address, HOLD_TIME) + ",passive"),
    )
    b.start()
    watch = program.Program(site.b, "kernelroute", "watch", latency.SAMPLES)
    watch.wait("started")
    a = installers.ours(
        site.a, "--neighbor", neighbor.format(latency.B, HOLD_TIME), without="links"
    )
    a.start()
    a.established()
    plugin = agent.Plugin(site.a)
    options = {"host_access": "off", "bgp.advertise": "endpoint"}
    network = plugin.create_network(samples.RANGE, gateway=_GATEWAY, internal=False, **options)
    site.disturb()
    answered = [_join(plugin, network, number) for number in range(latency.SAMPLES)]
    seen = watch.wait("seen")["samples"]
    return [1000 * (there - here) for here, there in zip(answered, seen, strict=True)]


def _join(plugin: agent.Plugin, network: str, number: int) -> float:
    """One more container comes, and stays; when Join was answered."""
    endpoint = {"NetworkID": network, "EndpointID": secrets.token_hex(32)}
    address = samples.prefix(number).replace("/32", "/16")
    interface = {"Address": address, "AddressIPv6": "", "MacAddress": ""}
    plugin.call("NetworkDriver.CreateEndpoint", {**endpoint, "Interface": interface, "Options": {}})
    plugin.call("NetworkDriver.Join", {**endpoint, "SandboxKey": "/none", "Options": {}})
    answered = time.monotonic()
    time.sleep(samples.INTERVAL)
    return answered


WAYS = {measure.OURS: ours, "BIRD": latency.bird}


def once(contender: str) -> measure.Samples:
    """Samples of both kinds, in milliseconds."""
    return {
        "quiet": latency.way(WAYS[contender], bursts=False, install=True),
        "bursts": latency.way(WAYS[contender], bursts=True, install=True),
    }


CASE = measure.Case(
    name="join",
    contenders=tuple(WAYS),
    measures=(
        measure.Measure(
            title="Join's answer → the other host's FIB: median",
            samples="quiet",
            unit="ms",
            ratios={"BIRD": 1.0},
        ),
        measure.Measure(
            title="… 99th percentile", samples="quiet", unit="ms", percentile=99, goal=2
        ),
        measure.Measure(
            title="… median, another neighbour changes 100,000 routes in bursts",
            samples="bursts",
            unit="ms",
        ),
        measure.Measure(
            title="… 99th percentile, with the bursts",
            samples="bursts",
            unit="ms",
            percentile=99,
            goal=50,
        ),
    ),
    once=once,
)
