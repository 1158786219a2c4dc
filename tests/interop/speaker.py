"""The embedded engine alone, as a process: events as JSON lines, orders over a socket.

Where the kernel has no ipvlan the daemon has nothing to announce; this has. SIGTERM closes
without a word, SIGINT withdraws and sends Cease, as the daemon does. Neighbours, announcements
and the speaker are the records of `model`, as JSON where more than the usual is to be said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines import embedded


class Printer:
    """Prints what the engine tells."""

    def best_paths(self, change: model.BestPaths) -> None:
        """One line per prefix; at this number of them that is no matter."""
        best = change.paths[0] if change.paths else None
        for key in change.prefixes:
            say(
                "route",
                prefix=str(model.prefix(change.family, key)),
                next_hop=str(best.next_hop) if best else None,
                as_path=list(best.as_path) if best else None,
                communities=[f"{c >> 16}:{c & 0xFFFF}" for c in best.communities] if best else [],
                large_communities=[
                    ":".join(map(str, large)) for large in (best.large_communities if best else ())
                ],
                local_pref=best.local_pref if best else None,
                paths=len(change.paths),
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
    parser.add_argument(
        "--neighbor", action="append", default=[], help="ADDRESS,AS[,passive] or a JSON object"
    )
    parser.add_argument(
        "--announce", action="append", default=[], help="PREFIX,NEXT_HOP or a JSON object"
    )
    parser.add_argument("--speaker", default="{}", help="more of SpeakerConfig, a JSON object")
    parser.add_argument("--orders", type=Path, help="socket to listen on for `Orders`")
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
        neighbors=tuple(map(neighbor, arguments.neighbor)),
        restart_time=arguments.restart_time,
        **json.loads(arguments.speaker),
    )
    engine = embedded.EmbeddedEngine(config, Printer())
    engine.announce(map(announcement, arguments.announce))
    stop: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    for number, withdraw in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        asyncio.get_running_loop().add_signal_handler(number, stop.set_result, withdraw)
    await engine.start(restarted=arguments.restarted, forwarding_preserved=arguments.restarted)
    async with contextlib.AsyncExitStack() as stack:
        if arguments.orders:
            orders = Orders(engine)
            server = await asyncio.start_unix_server(orders.serve, arguments.orders, limit=1 << 24)
            await stack.enter_async_context(server)
        say("started")
        await engine.stop(withdraw=await stop)


class Orders:
    """What a test has the engine do while it runs: one JSON object a line, one answered."""

    def __init__(self, engine: embedded.EmbeddedEngine) -> None:
        self._engine = engine

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one order."""
        order = json.loads(await reader.readline())
        does: dict[str, Callable[..., object]] = {
            "announce": lambda routes: self._engine.announce(map(announcement, routes)),
            "withdraw": lambda prefixes: self._engine.withdraw(map(ipaddress.ip_network, prefixes)),
            "neighbors": self._neighbors,
            "reset": self._reset,
            "graceful_shutdown": lambda on: self._engine.graceful_shutdown(on=on),
        }
        answer = does[order.pop("do")](**order)
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()
        await writer.wait_closed()

    def _neighbors(self) -> list[dict[str, Any]]:
        found = map(dataclasses.asdict, self._engine.neighbors())
        return [json.loads(json.dumps(one, default=str)) for one in found]

    def _reset(self, address: str, *, soft: bool = False, message: str = "") -> None:
        self._engine.reset(ipaddress.ip_address(address), soft=soft, message=message)


def neighbor(text: str) -> model.NeighborConfig:
    """A neighbour from the command line; families by name ("ipv4")."""
    if not text.startswith("{"):
        address, number, *rest = text.split(",")
        return model.NeighborConfig(
            address=ipaddress.ip_address(address), remote_as=int(number), passive="passive" in rest
        )
    values = json.loads(text)
    for name in ("address", "local_address"):
        if name in values:
            values[name] = ipaddress.ip_address(values[name])
    if "families" in values:
        values["families"] = frozenset(model.Family[one.upper()] for one in values["families"])
    return model.NeighborConfig(**values)


def announcement(route: str | dict[str, Any]) -> model.Announcement:
    """What to announce; communities as "AS:VALUE" and "AS:VALUE:VALUE"."""
    if isinstance(route, str) and not route.startswith("{"):
        prefix, next_hop = route.split(",")
        route = {"prefix": prefix, "next_hop": next_hop}
    values: dict[str, Any] = dict(json.loads(route) if isinstance(route, str) else route)
    values["prefix"] = ipaddress.ip_network(values["prefix"])
    for name in ("next_hop", "fixed_next_hop"):
        if name in values:
            values[name] = ipaddress.ip_address(values[name])
    values["on_link"] = tuple(map(ipaddress.ip_interface, values.get("on_link", ())))
    values["communities"] = tuple(
        (int(high) << 16) + int(low)
        for high, low in (one.split(":") for one in values.get("communities", ()))
    )
    values["large_communities"] = tuple(
        (int(a), int(b), int(c))
        for a, b, c in (one.split(":") for one in values.get("large_communities", ()))
    )
    return model.Announcement(**values)


if __name__ == "__main__":
    main()
