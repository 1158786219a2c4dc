"""One route, from a speaker to the next: quiet, and while another neighbour sends bursts.

Ours: `announce` called on A → event on B. BIRD: route put into A's kernel → B's kernel tells of
it, because BIRD is told no other way; it installs the samples only, not the bursts, since ours
installs nothing here.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import signal

from bench import contenders, measure, program, samples, transfer, wire
from lab import namespace, peers

SAMPLES = 200
"""Per round: the default five rounds make 1,000."""
BURST, EVERY = 100_000, 0.5
"""Routes of a burst, and seconds from one to the next."""
_A, _B = "198.18.0.2", "198.18.0.1"
_LOAD = contenders.Load(address=ipaddress.IPv4Address("198.18.2.2"), sessions=1, routes=BURST)
_B_TO_SENDER = "198.18.2.1"
_SAMPLES = f"net ~ [ {samples.RANGE}+ ]"


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A and B on a wire, and the sender of the bursts on another wire of B's."""

    a: namespace.Host
    b: namespace.Host
    sender: namespace.Host
    bursts: bool

    def disturb(self) -> None:
        """Begin with the bursts, if there shall be any; returns when they have begun."""
        if self.bursts:
            load = transfer.start_sender(
                self.sender, _LOAD, receiver=_B_TO_SENDER, settle=True, burst_every=EVERY
            )
            load.wait("burst")


def ours(site: Site) -> list[float]:
    """Between two of our engines."""
    common = ("--as", contenders.AS, "--router-id")
    b = program.Program(
        site.b,
        "speaker",
        *(*common, _B, "--passive", "--watch", SAMPLES),
        *("--neighbors", _A, "--neighbors", _LOAD.address),
    )
    b.wait("started")
    a = program.Program(site.a, "speaker", *common, _A, "--neighbors", _B, "--samples", SAMPLES)
    b.wait("established")
    site.disturb()
    a.process.signal(signal.SIGUSR1)
    return _differences(a, b)


def bird(site: Site) -> list[float]:
    """Between the kernels of two BIRDs."""
    b = peers.Bird(site.b, _bird_b())
    b.start()
    watch = program.Program(site.b, "kernelroute", "watch", SAMPLES)
    watch.wait("started")
    peers.Bird(site.a, _bird_a()).start()
    peers.wait_established(b, _A)
    site.disturb()
    return _differences(program.Program(site.a, "kernelroute", "add", SAMPLES), watch)


def _differences(a: program.Program, b: program.Program) -> list[float]:
    announced, seen = a.wait("announced")["samples"], b.wait("seen")["samples"]
    return [1000 * (there - here) for here, there in zip(announced, seen, strict=True)]


def _bird_a() -> peers.Speaker:
    """It learns from the kernel, and says so; the lab's own neighbours export no such routes."""
    extra = f"""
        protocol kernel {{ learn; ipv4 {{ import where {_SAMPLES}; export none; }}; }}
        protocol bgp to_b {{
            local as {contenders.AS};
            neighbor {_B} as {contenders.AS};
            direct;
            connect delay time 1; connect retry time 1; error wait time 1, 2;
            ipv4 {{ import none; export where {_SAMPLES}; next hop self; }};
        }}
    """
    return peers.Speaker(local_as=contenders.AS, router_id=_A, neighbors=(), extra=extra)


def _bird_b() -> peers.Speaker:
    """It takes what both neighbours tell, and installs the samples."""
    extra = f"protocol kernel {{ ipv4 {{ import none; export where {_SAMPLES}; }}; }}"
    neighbors = tuple(
        peers.Neighbor(
            address=str(address), remote_as=contenders.AS, passive=True, graceful_restart=False
        )
        for address in (_A, _LOAD.address)
    )
    return peers.Speaker(
        local_as=contenders.AS,
        router_id=_B,
        neighbors=neighbors,
        originate=(wire.OWN,),
        extra=extra,
    )


_WAYS = {measure.OURS: ours, "BIRD": bird}


def way(contender: str, *, bursts: bool) -> list[float]:
    """Samples of one kind, in milliseconds.

    Args:
        contender: who is on both sides.
        bursts: whether another neighbour of B's sends bursts meanwhile.
    """
    with namespace.Lab() as lab:
        site = Site(lab.host("a"), lab.host("b"), lab.host("sender"), bursts)
        lab.wire(
            namespace.Port(site.a, "eth1", (f"{_A}/24",)),
            namespace.Port(site.b, "eth1", (f"{_B}/24",)),
        )
        lab.wire(
            namespace.Port(site.sender, "eth1", (f"{_LOAD.address}/24",)),
            namespace.Port(site.b, "eth2", (f"{_B_TO_SENDER}/24",)),
        )
        return _WAYS[contender](site)


def once(contender: str) -> measure.Samples:
    """Samples of both kinds, in milliseconds."""
    return {
        "quiet": way(contender, bursts=False),
        "bursts": way(contender, bursts=True),
    }


CASE = measure.Case(
    name="latency",
    contenders=tuple(_WAYS),
    measures=(
        measure.Measure(title="one route, A → B: median", samples="quiet", unit="ms"),
        measure.Measure(
            title="… 99th percentile", samples="quiet", unit="ms", percentile=99, goal=2
        ),
        measure.Measure(
            title="… median, another neighbour sends bursts", samples="bursts", unit="ms"
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
