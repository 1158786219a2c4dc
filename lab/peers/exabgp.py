"""ExaBGP on a lab host: no daemon of routes, a program that talks BGP for a script."""

from __future__ import annotations

import functools
import ipaddress
import json
from collections import defaultdict
from typing import Any

from lab import namespace, process
from lab.peers import common

_NAMES = {
    "65": "4-octet-as",
    "2": "route-refresh",
    "70": "enhanced-route-refresh",
    "6": "extended-message",
    "5": "extended-next-hop",
    "69": "add-path",
    "64": "graceful-restart",
}
"""Capability codes, and the registry's names."""
_ENVIRONMENT = {
    "exabgp.daemon.drop": "false",
    "exabgp.daemon.user": "root",
    "exabgp.api.ack": "false",
    "exabgp.api.cli": "false",
    # How long a turn of its loop may wait, in seconds: what is announced goes with the next one.
    "exabgp.reactor.speed": "0.1",
}


class ExaBgp:
    """ExaBGP. Witness: what it tells its script, one JSON object a line.

    The script is two programs: one hands on the lines of the file `commands`, the other writes
    down what it is told. ExaBGP has no table, so `learned` and `count` add up what came on the
    session, and the end of the session ends that: it keeps nothing over a restart.
    """

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        if any(neighbor.max_prefixes for neighbor in speaker.neighbors):
            raise common.Unsupported("ExaBGP has no limit of prefixes")
        if speaker.install:
            raise common.Unsupported("ExaBGP installs nothing")
        self.host = host
        self.speaker = speaker
        self.process: process.Process
        self._commands = host.directory / "commands"
        self._told = host.directory / "told"
        self._seen = 0
        self._neighbors: dict[str, _Neighbor] = {}
        self._paths: dict[str, int] = {}

    def start(self, *, restarting: bool = False) -> None:  # noqa: ARG002 - it always says so
        """Start it and wait until it has read its file."""
        script = self.host.directory / "script"
        script.write_text(f"tail -n +1 -f --pid=$$ {self._commands} &\nexec cat >>{self._told}\n")
        self._told.write_text("")
        self._seen, self._neighbors, self._paths = 0, defaultdict(_Neighbor), defaultdict(int)
        self._commands.write_text("")
        config = self.host.directory / "exabgp.conf"
        config.write_text(self._text(script))
        own = {self._local(neighbor) for neighbor in self.speaker.neighbors}
        self.process = self.host.start(
            "exabgp",
            config,
            log="exabgp.log",
            env={**_ENVIRONMENT, "exabgp.tcp.bind": " ".join(sorted(own))},
        )
        namespace.wait_until(
            lambda: "loaded new configuration" in self.process.tail(500), "exabgp to be up"
        )

    def ctl(self, *commands: str) -> None:
        """Commands of its API, in its words; nothing is answered."""
        with self._commands.open("a") as file:
            file.writelines(f"{command}\n" for command in commands)

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""
        return self._neighbor_of(address).up

    def learned(self, prefix: str) -> common.Learned | None:
        """The path that came last."""
        self._read()
        for neighbor in self._neighbors.values():
            for (key, _), (next_hop, attributes) in neighbor.routes.items():
                if key == prefix:
                    return _learned(prefix, next_hop, attributes)
        return None

    def count(self, address: str, family: str) -> int:
        """How many prefixes have come and not gone."""
        routes = self._neighbor_of(address).routes
        return len({prefix for prefix, _ in routes if common.family(prefix) == family})

    def capabilities(self, address: str) -> frozenset[str]:
        """The neighbour's, from the last OPEN."""
        theirs = self._neighbor_of(address).open.get("capabilities", {})
        return frozenset(name for code, name in _NAMES.items() if code in theirs)

    def updates(self, address: str) -> int:
        """Prefixes that came in UPDATEs, again and again."""
        return self._neighbor_of(address).updates

    def notification(self, address: str) -> str:
        """The last one received, as code, subcode and text, or why the session ended."""
        return self._neighbor_of(address).error

    def announce(self, prefix: str | common.Originated) -> None:
        """Originate one more prefix, or one more path of it."""
        self.ctl(f"announce {self._route(common.originated(prefix))}")

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        words = f"withdraw route {prefix} next-hop {self._next_hop(prefix)}"
        for path in range(self._paths.pop(prefix, 1), 1, -1):
            self.ctl(f"{words} path-information 0.0.0.{path}")
        self.ctl(words)

    def refresh(self, address: str) -> None:
        """`announce route-refresh`, for both families."""
        for name in self._families():
            self.ctl(f"neighbor {address} announce route-refresh {name}")

    def reset(self, address: str) -> None:
        """`teardown`: a Cease, administrative reset."""
        self.ctl(f"neighbor {address} teardown 4")

    def stop(self) -> None:
        """SIGTERM: ExaBGP sends Cease."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL; its script ends when its pipe does."""
        self.process.kill()

    def _read(self) -> None:
        with self._told.open() as file:
            file.seek(self._seen)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self._seen += len(line.encode())
                event = json.loads(line)
                self._neighbors[event["neighbor"]["address"]["peer"]].take(event)

    def _neighbor_of(self, address: str) -> _Neighbor:
        self._read()
        return self._neighbors[address]

    def _families(self) -> list[str]:
        return ["ipv4 unicast", *(["ipv6 unicast"] if self.speaker.ipv6 else [])]

    def _route(self, one: common.Originated) -> str:
        """A route as the configuration and the API spell it."""
        self._paths[one.prefix] += 1
        words = [f"route {one.prefix} next-hop {one.next_hop or self._next_hop(one.prefix)}"]
        for name, values in (
            ("community", one.communities),
            ("large-community", one.large_communities),
        ):
            words += [f"{name} [ {' '.join(values)} ]"] if values else []
        path = self._paths[one.prefix]
        words += [f"path-information 0.0.0.{path}"] if path > 1 else []
        return " ".join(words)

    def _next_hop(self, prefix: str) -> str:
        """Our own address of that family: ExaBGP knows that of the session only."""
        family = common.family(prefix)
        if any(neighbor.extended_next_hop for neighbor in self.speaker.neighbors):
            family = "ipv6"
        return self._own(family)

    @functools.cache  # noqa: B019 - a lab's hosts are few and keep their addresses
    def _own(self, family: str) -> str:
        name = {"ipv4": "inet", "ipv6": "inet6"}[family]
        found = [
            address["local"]
            for link in self.host.links().values()
            for address in link["addr_info"]
            if address["family"] == name and address["scope"] == "global"
        ]
        if not found:
            raise namespace.LabError(f"{self.host.name} has no {family} address")
        return str(found[0])

    def _local(self, neighbor: common.Neighbor) -> str:
        return neighbor.local_address or self._own(common.family(neighbor.address))

    def _text(self, script: object) -> str:
        # Not as commands, which it takes one in each turn of its loop.
        routes = "".join(f"    {self._route(one)};\n" for one in self.speaker.originated)
        blocks = [f"process script {{\n  run /bin/sh {script};\n  encoder json;\n}}"]
        for neighbor in self.speaker.neighbors:
            lines = "\n".join(f"  {line}" for line in self._neighbor(neighbor))
            blocks.append(f"neighbor {neighbor.address} {{\n{lines}\n  static {{\n{routes}  }}\n}}")
        return "\n".join([*blocks, self.speaker.extra, ""])

    def _neighbor(self, neighbor: common.Neighbor) -> list[str]:
        speaker, families = self.speaker, self._families()
        six = neighbor.extended_next_hop
        graceful = neighbor.restart_time if neighbor.graceful_restart else "disable"
        # The TTL of what goes out, and the least that comes in (GTSM).
        ttl = 255 if neighbor.ttl_security else neighbor.multihop
        return [
            f"router-id {speaker.router_id};",
            f"local-address {self._local(neighbor)};",
            f"local-as {speaker.local_as};",
            f"peer-as {neighbor.remote_as};",
            f"hold-time {neighbor.hold_time};",
            f"passive {'true' if neighbor.passive else 'false'};",
            *([f"outgoing-ttl {ttl};"] if ttl > 1 else []),
            *(["incoming-ttl 255;"] if neighbor.ttl_security else []),
            *([f'md5-password "{neighbor.password}";'] if neighbor.password else []),
            f"family {{ {' '.join(f'{name};' for name in families)} }}",
            *(["nexthop { ipv4 unicast ipv6; }"] if six else []),
            "capability {",
            f"  graceful-restart {graceful};",
            "  route-refresh enable;",
            f"  extended-message {'enable' if neighbor.extended_messages else 'disable'};",
            f"  add-path {'send/receive' if neighbor.add_path else 'disable'};",
            f"  nexthop {'enable' if six else 'disable'};",
            "}",
            "api {",
            "  processes [ script ];",
            "  neighbor-changes;",
            "  receive { parsed; open; update; notification; }",
            "}",
        ]


class _Neighbor:
    """What ExaBGP has told of one neighbour."""

    def __init__(self) -> None:
        self.up = False
        self.open: dict[str, Any] = {}
        self.updates = 0
        self.error = ""
        self.routes: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        """Next hop and attributes by prefix and path identifier."""

    def take(self, event: dict[str, Any]) -> None:
        """One line."""
        said = event["neighbor"]
        match event["type"]:
            case "state":
                self.up = said["state"] == "up"
                if said["state"] == "down":
                    self.routes.clear()
                    self.error = self.error or str(said.get("reason", ""))
            case "open":
                self.open, self.error = said["open"], ""
            case "notification":
                self.error = json.dumps(said.get("notification", said))
            case "update":
                self._update(said["message"].get("update", {}))

    def _update(self, update: dict[str, Any]) -> None:
        for routes in update.get("withdraw", {}).values():
            for route in routes:
                self.routes.pop(_key(route), None)
        for by_next_hop in update.get("announce", {}).values():
            for next_hop, routes in by_next_hop.items():
                self.updates += len(routes)
                for route in routes:
                    # An IPv6 pair is told as two routes; the link-local one says less.
                    if not next_hop.startswith("fe80") or _key(route) not in self.routes:
                        self.routes[_key(route)] = (next_hop, update["attribute"])


def _key(route: dict[str, Any]) -> tuple[str, str]:
    # It does not shorten IPv6 as everybody else does.
    return str(ipaddress.ip_network(route["nlri"])), route.get("path-information", "")


def _learned(prefix: str, next_hop: str, attributes: dict[str, Any]) -> common.Learned:
    def values(name: str) -> frozenset[str]:
        return frozenset(":".join(map(str, value)) for value in attributes.get(name, ()))

    return common.Learned(
        prefix,
        next_hop,
        tuple(attributes.get("as-path", ())),
        False,
        attributes,
        values("community"),
        values("large-community"),
        attributes.get("med"),
        attributes.get("local-preference"),
    )
