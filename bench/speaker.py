"""Our embedded engine alone, as a process, with its events counted.

What happened stands on its output, one JSON line each, in seconds of the machine's monotonic
clock; SIGTERM ends it.

    started      sockets are open
    established  (once per session)
    learned      as many prefixes as --expect says have a best path
    announced    (after SIGUSR1, with --samples) when each sample was announced
    seen         (with --watch) when each sample's event came, once all have
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import signal
import time

from bench import samples, wire
from bench.sender import HOLD_TIME, say
from bgp_ipvlan import model
from bgp_ipvlan.engines import embedded

_FEW = 100
"""A batch larger than that is a burst's, and holds no sample."""


class Counter:
    """Takes what the engine tells, as cheaply as can be."""

    def __init__(self, expect: int, watch: int) -> None:
        self._missing = expect
        self._watch = samples.Times(watch)

    def best_paths(self, change: model.BestPaths) -> None:
        """Count, and note the time of samples."""
        if self._watch.missing and len(change.prefixes) < _FEW and change.paths:
            for key in change.prefixes:
                if self._watch.note(key[1:]):
                    say("seen", samples=self._watch.values)
        if self._missing > 0 and change.paths:
            self._missing -= len(change.prefixes)
            if self._missing <= 0:
                say("learned")

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """A session came up or went down."""
        if status.state is model.SessionState.ESTABLISHED:
            say("established", address=str(status.address))
        else:
            say("ended", address=str(status.address), detail=detail)

    def synced(self) -> None:
        """Nothing waits for it here."""


def config(arguments: argparse.Namespace) -> model.SpeakerConfig:
    """All neighbours in our own AS, so that nobody passes on what it learns."""
    return model.SpeakerConfig(
        local_as=arguments.local_as,
        router_id=arguments.router_id,
        neighbors=tuple(
            model.NeighborConfig(
                address=first + number,
                remote_as=arguments.local_as,
                passive=arguments.passive,
                hold_time=HOLD_TIME,
                keepalive=HOLD_TIME // 3,
            )
            for first, count in arguments.neighbors
            for number in range(count)
        ),
    )


async def run(arguments: argparse.Namespace) -> None:
    """The engine's life."""
    engine = embedded.EmbeddedEngine(config(arguments), Counter(arguments.expect, arguments.watch))
    own = ipaddress.ip_network(wire.OWN)
    engine.announce([model.Announcement(prefix=own, next_hop=arguments.router_id)])
    stop, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, go.set)
    await engine.start(restarted=False, forwarding_preserved=False)
    say("started")
    if arguments.samples:
        await go.wait()
        await _announce(engine, arguments)
    await stop.wait()
    await engine.stop(withdraw=False)


async def _announce(engine: embedded.EmbeddedEngine, arguments: argparse.Namespace) -> None:
    times = []
    for number in range(arguments.samples):
        prefix = ipaddress.IPv4Network(samples.prefix(number))
        one = model.Announcement(prefix=prefix, next_hop=arguments.router_id)
        times.append(time.monotonic())
        engine.announce([one])
        await asyncio.sleep(samples.INTERVAL)
    say("announced", samples=times)


def _neighbors(text: str) -> tuple[ipaddress.IPv4Address, int]:
    first, _, count = text.partition(",")
    return ipaddress.IPv4Address(first), int(count or 1)


def main() -> None:
    """Read the command line and run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", type=int, required=True, dest="local_as")
    parser.add_argument("--router-id", type=ipaddress.IPv4Address, required=True)
    parser.add_argument(
        "--neighbors", type=_neighbors, action="append", default=[], help="FIRST[,COUNT]"
    )
    parser.add_argument("--passive", action="store_true")
    parser.add_argument("--expect", type=int, default=0)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--watch", type=int, default=0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
