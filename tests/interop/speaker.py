"""The embedded engine alone, as a process: fixed announcements, events as JSON lines.

Where the kernel has no ipvlan the daemon has nothing to announce; this has. SIGTERM closes
without a word, SIGINT withdraws and sends Cease, as the daemon does.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import logging
import signal
import sys

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines import embedded


class Printer:
    """Prints what the engine tells."""

    def best_paths(self, change: model.BestPaths) -> None:
        """One line per prefix; at this number of them that is no matter."""
        for key in change.prefixes:
            best = change.paths[0] if change.paths else None
            say(
                "route",
                prefix=str(model.prefix(change.family, key)),
                next_hop=str(best.next_hop) if best else None,
                as_path=list(best.as_path) if best else None,
            )

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """A session came up or went down."""
        say("neighbor", address=str(status.address), state=status.state, detail=detail)

    def synced(self) -> None:
        """All is known."""
        say("synced")


def say(event: str, **values: object) -> None:
    """One line, at once."""
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> None:
    """Read the command line and run until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", type=int, required=True, dest="local_as")
    parser.add_argument("--router-id", type=ipaddress.IPv4Address, required=True)
    parser.add_argument("--neighbor", action="append", default=[], help="ADDRESS,AS[,passive]")
    parser.add_argument("--announce", action="append", default=[], help="PREFIX,NEXT_HOP")
    parser.add_argument("--restart-time", type=int, default=30)
    parser.add_argument("--restarted", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
    try:
        asyncio.run(run(arguments))
    except errors.EngineError as error:
        say("error", reason=error.reason, message=str(error))
        sys.exit(1)


async def run(arguments: argparse.Namespace) -> None:
    """The engine's life."""
    config = model.SpeakerConfig(
        local_as=arguments.local_as,
        router_id=arguments.router_id,
        neighbors=tuple(map(_neighbor, arguments.neighbor)),
        restart_time=arguments.restart_time,
    )
    engine = embedded.EmbeddedEngine(config, Printer())
    engine.announce(map(_announcement, arguments.announce))
    stop: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    for number, withdraw in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        asyncio.get_running_loop().add_signal_handler(number, stop.set_result, withdraw)
    await engine.start(restarted=arguments.restarted, forwarding_preserved=arguments.restarted)
    say("started")
    await engine.stop(withdraw=await stop)


def _neighbor(text: str) -> model.NeighborConfig:
    address, number, *rest = text.split(",")
    return model.NeighborConfig(
        address=ipaddress.ip_address(address), remote_as=int(number), passive="passive" in rest
    )


def _announcement(text: str) -> model.Announcement:
    prefix, next_hop = text.split(",")
    return model.Announcement(
        prefix=ipaddress.ip_network(prefix), next_hop=ipaddress.ip_address(next_hop)
    )


if __name__ == "__main__":
    main()
