"""An engine alone, as a process: events as JSON lines, orders over a socket.

Where the kernel has no ipvlan the daemon has nothing to announce; this has. SIGTERM closes
without a word, SIGINT withdraws and sends Cease, as the daemon does. Neighbours, announcements
and the speaker are the records of `model`, as JSON where more than the usual is to be said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import inspect
import ipaddress
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bgp_ipvlan import config as config_
from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.bgp import policy
from bgp_ipvlan.engines import embedded


class Printer:
    """Prints what the engine tells, and keeps it.

    Args:
        brief: print nothing of routes, of which there are many.
    """

    def __init__(self, *, brief: bool) -> None:
        self._brief = brief
        self.told: dict[tuple[model.Family, model.Nlri], tuple[model.Path, ...]] = {}
        """The paths of each prefix that has any, as whoever listens must believe them to be."""
        self.gone: set[str] = set()
        """Prefixes of which it was told that no path is left, since this was last asked for."""

    def best_paths(self, change: model.BestPaths) -> None:
        """One line per prefix; at this number of them that is no matter."""
        for key in change.prefixes:
            if change.paths:
                self.told[change.family, key] = change.paths
            else:
                self.told.pop((change.family, key), None)
                self.gone.add(str(model.prefix(change.family, key)))
        if not self._brief:
            self._print(change)

    def _print(self, change: model.BestPaths) -> None:
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
        say("synced", prefixes=len(self.told))


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
    parser.add_argument("--engine", choices=[*model.EngineKind], default=model.EngineKind.EMBEDDED)
    parser.add_argument("--api", help="where gobgpd is; without it one is started")
    parser.add_argument("--command", default="gobgpd", help="how it is started")
    parser.add_argument("--brief", action="store_true", help="no line for each route")
    parser.add_argument("--restart-time", type=int, default=30)
    parser.add_argument("--restarted", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
    logging.getLogger("grpc").setLevel(logging.WARNING)
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
    printer = Printer(brief=arguments.brief)
    engine = made(arguments, config, printer)
    engine.announce(map(announcement, arguments.announce))
    stop: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    for number, withdraw in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        asyncio.get_running_loop().add_signal_handler(number, stop.set_result, withdraw)
    await engine.start(restarted=arguments.restarted, forwarding_preserved=arguments.restarted)
    async with contextlib.AsyncExitStack() as stack:
        if arguments.orders:
            orders = Orders(engine, printer)
            server = await asyncio.start_unix_server(orders.serve, arguments.orders, limit=1 << 24)
            await stack.enter_async_context(server)
        say("started")
        await engine.stop(withdraw=await stop)


def made(
    arguments: argparse.Namespace, config: model.SpeakerConfig, printer: Printer
) -> ports.Engine:
    """The engine that the command line names."""
    if arguments.engine == model.EngineKind.EMBEDDED:
        return embedded.EmbeddedEngine(config, printer)
    from bgp_ipvlan.engines import gobgp

    return gobgp.GobgpEngine(
        config,
        printer,
        api=arguments.api,
        command=arguments.command,
        document="" if arguments.api else _document(config),
    )


def _document(speaker: model.SpeakerConfig) -> str:
    """Of the gobgpd that is started, as the daemon makes it."""
    settings = config_.Settings(
        local_as=speaker.local_as,
        router_id=speaker.router_id,
        neighbors=speaker.neighbors,
        restart_time=speaker.restart_time,
        maximum_paths=speaker.maximum_paths,
    )
    return config_.gobgp_document(settings, held=True)


class Orders:
    """What a test has the engine do while it runs: one JSON object a line, one answered."""

    def __init__(self, engine: ports.Engine, printer: Printer) -> None:
        self._engine = engine
        self._printer = printer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one order."""
        order = json.loads(await reader.readline())
        does: dict[str, Callable[..., object]] = {
            "announce": lambda routes: self._engine.announce(map(announcement, routes)),
            "withdraw": lambda prefixes: self._engine.withdraw(map(ipaddress.ip_network, prefixes)),
            "delivered": self._delivered,
            "best": self._best,
            "table": self._table,
            "counts": self._counts,
            "gone": self._gone,
            "refusals": self._refusals,
            "neighbors": self._neighbors,
            "configure": self._configure,
            "reset": self._reset,
            "graceful_shutdown": lambda on: self._engine.graceful_shutdown(on=on),
            "shutdown": lambda message="": self._engine.shutdown(message=message),
            "resume": self._engine.resume,
            "surroundings": self._surroundings,
        }
        try:
            answer = does[order.pop("do")](**order)
            if inspect.isawaitable(answer):
                answer = await answer
        except errors.EngineError as error:
            answer = {"reason": error.reason, "message": str(error)}
        writer.write(json.dumps(answer).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def _delivered(self, prefixes: Sequence[str], timeout: float) -> dict[str, Any]:
        networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
        found = await self._engine.delivered(networks, timeout=timeout)
        return {"established": found.established, "waiting": list(map(str, found.waiting))}

    def _best(self, prefix: str) -> list[dict[str, Any]]:
        network = ipaddress.ip_network(prefix)
        paths = self._engine.best(model.Family.of(network), model.nlri(network))
        return [_plain(dataclasses.asdict(path)) for path in paths]

    def _table(self) -> dict[str, dict[str, list[str]]]:
        """Next hops by prefix: as told, and as the engine answers now."""
        keys = [(family, key) for family in model.Family for key in self._engine.prefixes(family)]
        now = {one: self._engine.best(*one) for one in keys}
        return {"told": _next_hops(self._printer.told), "now": _next_hops(now)}

    def _counts(self) -> dict[str, int]:
        now = sum(1 for family in model.Family for _ in self._engine.prefixes(family))
        return {"told": len(self._printer.told), "now": now}

    def _gone(self) -> list[str]:
        gone, self._printer.gone = self._printer.gone, set()
        return sorted(gone)

    def _refusals(self) -> list[dict[str, str]]:
        return [
            {
                "prefix": str(model.prefix(one.family, one.prefix)),
                "neighbor": str(one.path.neighbor),
                "reason": one.reason,
            }
            for family in model.Family
            for one in self._engine.refusals(family)
        ]

    def _configure(
        self, neighbors: Sequence[dict[str, Any]], dynamic: Sequence[dict[str, Any]] = ()
    ) -> None:
        ranges = [
            model.DynamicNeighbors(
                prefix=ipaddress.ip_network(one["prefix"]),
                template=neighbor(json.dumps(one["template"])),
            )
            for one in dynamic
        ]
        self._engine.configure([neighbor(json.dumps(one)) for one in neighbors], ranges)

    def _surroundings(self, addresses: Sequence[str], unusable: Sequence[str] = ()) -> None:
        """Next hops that cannot be reached are named."""
        lost = set(map(ipaddress.ip_address, unusable))
        self._engine.surroundings_changed(
            [ipaddress.ip_address(address) for address in addresses],
            lambda path: path.next_hop not in lost,
        )

    def _neighbors(self) -> list[dict[str, Any]]:
        return [_plain(dataclasses.asdict(one)) for one in self._engine.neighbors()]

    def _reset(self, address: str, *, soft: bool = False, message: str = "") -> None:
        self._engine.reset(ipaddress.ip_address(address), soft=soft, message=message)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: addresses as text."""
    found: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return found


def _next_hops(
    table: dict[tuple[model.Family, model.Nlri], tuple[model.Path, ...]],
) -> dict[str, list[str]]:
    return {
        str(model.prefix(family, key)): [str(path.next_hop) for path in paths]
        for (family, key), paths in table.items()
    }


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
    if "import_rules" in values:
        values["import_rules"] = tuple(map(policy.parse, values["import_rules"]))
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
