"""One route, from a speaker to the next: quiet, and while another neighbour sends bursts.

Ours: `announce` called on A → event on B. BIRD: route put into A's kernel → B's kernel tells of
it, because BIRD is told no other way; it installs the samples only, not the bursts, since ours
installs nothing here.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import signal
from collections.abc import Callable

from bench import contenders, installing, measure, program, samples, transfer, wire
from lab import namespace, peers

SAMPLES = 200
"""Per round: the default five rounds make 1,000."""
BURST, EVERY = 100_000, 0.5
"""Routes of a burst, and seconds from one to the next."""
A, B = "198.18.0.2", "198.18.0.1"
LOAD = contenders.Load(address=ipaddress.IPv4Address("198.18.2.2"), sessions=1, routes=BURST)
B_TO_SENDER = "198.18.2.1"
_SAMPLES = f"net ~ [ {samples.RANGE}+ ]"


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A and B on a wire, and the sender of the bursts on another wire of B's."""

    a: namespace.Host
    b: namespace.Host
    sender: namespace.Host
    bursts: bool
    install: bool
    """B installs what the bursts bring, and each changes every route; else nothing but the samples."""

    def disturb(self) -> None:
        """Begin with the bursts, if there shall be any; returns when they have begun."""
        if self.bursts:
            load = transfer.start_sender(
                self.sender,
                LOAD,
                receiver=B_TO_SENDER,
                settle=not self.install,
                burst_every=EVERY,
                next_hops=[LOAD.address, LOAD.address + 1] if self.install else (),
            )
            load.wait("burst")


def ours(site: Site) -> list[float]:
    """Between two of our engines."""
    common = ("--as", contenders.AS, "--router-id")
    b = program.Program(
        site.b,
        "speaker",
        *(*common, B, "--passive", "--watch", SAMPLES),
        *("--neighbors", A, "--neighbors", LOAD.address),
    )
    b.wait("started")
    a = program.Program(site.a, "speaker", *common, A, "--neighbors", B, "--samples", SAMPLES)
    b.wait("established")
    site.disturb()
    a.process.signal(signal.SIGUSR1)
    return _differences(a, b)


def bird(site: Site) -> list[float]:
    """Between the kernels of two BIRDs."""
    b = peers.Bird(site.b, _bird_b(install=site.install))
    b.start()
    watch = program.Program(site.b, "kernelroute", "watch", SAMPLES)
    watch.wait("started")
    peers.Bird(site.a, _bird_a()).start()
    peers.wait_established(b, A)
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
            neighbor {B} as {contenders.AS};
            direct;
            connect delay time 1; connect retry time 1; error wait time 1, 2;
            ipv4 {{ import none; export where {_SAMPLES}; next hop self; }};
        }}
    """
    return peers.Speaker(local_as=contenders.AS, router_id=A, neighbors=(), extra=extra)


def _bird_b(*, install: bool) -> peers.Speaker:
    """It takes what both neighbours tell, and installs the samples, or all."""
    what = "source = RTS_BGP" if install else _SAMPLES
    extra = f"protocol kernel {{ ipv4 {{ import none; export where {what}; }}; }}"
    neighbors = tuple(
        peers.Neighbor(
            address=str(address), remote_as=contenders.AS, passive=True, graceful_restart=False
        )
        for address in (A, LOAD.address)
    )
    return peers.Speaker(
        local_as=contenders.AS,
        router_id=B,
        neighbors=neighbors,
        originate=(wire.OWN,),
        extra=extra,
    )


WAYS = {measure.OURS: ours, "BIRD": bird}


def way(
    measured: Callable[[Site], list[float]], *, bursts: bool, install: bool = False
) -> list[float]:
    """Samples of one kind, in milliseconds.

    Args:
        measured: who is on both sides.
        bursts: whether another neighbour of B's sends bursts meanwhile.
        install: whether B installs them.
    """
    with namespace.Lab() as lab:
        a, b, sender = (installing.quiet(lab.host(name)) for name in ("a", "b", "sender"))
        site = Site(a, b, sender, bursts, install)
        lab.wire(
            namespace.Port(site.a, "eth1", (f"{A}/24",)),
            namespace.Port(site.b, "eth1", (f"{B}/24",)),
        )
        ends = (f"{LOAD.address}/24", f"{LOAD.address + 1}/24")
        lab.wire(
            namespace.Port(site.sender, "eth1", ends),
            namespace.Port(site.b, "eth2", (f"{B_TO_SENDER}/24",)),
        )
        return measured(site)


def once(contender: str) -> measure.Samples:
    """Samples of both kinds, in milliseconds."""
    return {
        "quiet": way(WAYS[contender], bursts=False),
        "bursts": way(WAYS[contender], bursts=True),
    }


CASE = measure.Case(
    name="latency",
    contenders=tuple(WAYS),
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
