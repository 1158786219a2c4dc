"""ExaBGP on a lab host.

It decides nothing and keeps no table: it tells a process of one's own what it hears and says
what that process wants. Ours is a shell script that joins both to files.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import namespace, process
from lab.peers import common

_HELPER = """\
exec 3<&0
cat <>commands &
cat <&3 >>witness
kill $!
"""
"""ExaBGP's words to `witness`, the words in the pipe `commands` to ExaBGP; ends with it."""
_ENVIRONMENT = {
    "exabgp.daemon.user": "root",
    "exabgp.daemon.drop": "false",
    "exabgp.api.cli": "false",
    "exabgp.log.destination": "stdout",
    # How long a turn of its loop may wait, in seconds: what is announced goes with the next one.
    "exabgp.reactor.speed": "0.1",
}
_NAMES = {
    65: "4-octet-as",
    2: "route-refresh",
    70: "enhanced-route-refresh",
    6: "extended-message",
    5: "extended-next-hop",
    69: "add-path",
    64: "graceful-restart",
}
"""Codes of capabilities, and the registry's names."""


class ExaBgp:
    """ExaBGP 4. Witness: the JSON that it gives to its process.

    Of graceful restart it has the restarting side only: what a neighbour said is gone with
    the session. A Cease with a text it cannot read (it answers with Message Header Error).
    """

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        if any(neighbor.max_prefixes for neighbor in speaker.neighbors):
            raise common.Unsupported("ExaBGP takes any number of prefixes")
        if speaker.install:
            raise common.Unsupported("ExaBGP never writes to the kernel")
        self.host = host
        self.speaker = speaker
        self._heard = _Heard()
        self._addresses: dict[str, str] = {}
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:  # noqa: ARG002 - it always says so
        """Start it and wait until it answers its process."""
        directory = self.host.directory
        for name in ("commands", "witness"):
            (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / "commands")
        (directory / "helper").write_text(f"cd {directory}\n{_HELPER}")
        config = directory / "exabgp.conf"
        config.write_text("".join(f"{line}\n" for line in self._lines()))
        self._heard = _Heard()
        self.process = self.host.start("exabgp", config, log="exabgp.log", env=_ENVIRONMENT)
        namespace.wait_until((directory / "witness").exists, "ExaBGP to start its process")
        self.ctl("version")

    def ctl(self, command: str) -> list[str]:
        """One command of its API; the lines of the answer.

        Raises:
            namespace.LabError: ExaBGP does not answer, or does not understand.
        """
        before = len(self._hear().answers)
        with (self.host.directory / "commands").open("w") as pipe:
            pipe.write(command + "\n")
        namespace.wait_until(
            lambda: {"done", "error"} & set(self._hear().answers[before:]), "ExaBGP to answer"
        )
        *lines, last = self._heard.answers[before:]
        if last != "done":
            raise namespace.LabError(f"exabgp: {command}: {self.process.tail(5)}")
        return lines

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""
        return address in self._hear().up

    def learned(self, prefix: str) -> common.Learned | None:
        """What a neighbour said of the prefix, last."""
        routes = [route for known in self._hear().routes.values() for route in known.values()]
        return next((route for route in reversed(routes) if route.prefix == prefix), None)

    def count(self, address: str, family: str) -> int:
        """How much of what the neighbour announced it has not withdrawn."""
        prefixes = {prefix for prefix, _ in self._hear().routes.get(address, {})}
        return sum(common.family(prefix) == family for prefix in prefixes)

    def capabilities(self, address: str) -> frozenset[str]:
        """Those of the neighbour's last OPEN."""
        shown = self._hear().opens.get(address, {}).get("capabilities", {})
        return frozenset(name for code, name in _NAMES.items() if str(code) in shown)

    def updates(self, address: str) -> int:
        """UPDATEs received."""
        return self._hear().updates.get(address, 0)

    def notification(self, address: str) -> str:
        """Why the last session ended, with code and subcode if it was by NOTIFICATION."""
        return self._hear().errors.get(address, "")

    def announce(self, prefix: str | common.Originated) -> None:
        """Originate one more prefix, or say anew what of it."""
        self.ctl(f"announce {self._route(common.originated(prefix))}")

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self.ctl(f"withdraw {self._route(common.Originated(prefix=prefix))}")

    def refresh(self, address: str) -> None:
        """Ask for every family."""
        for family in self._families:
            self.ctl(f"neighbor {address} announce route-refresh {family} unicast")

    def reset(self, address: str) -> None:
        """`teardown`: a Cease, or a silent end where graceful restart is on."""
        self.ctl(f"neighbor {address} teardown 4")

    def stop(self) -> None:
        """SIGTERM: it sends Cease, or nothing where graceful restart is on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def _hear(self) -> _Heard:
        self._heard.read(self.host.directory / "witness")
        return self._heard

    @property
    def _families(self) -> tuple[str, ...]:
        return ("ipv4", "ipv6") if self.speaker.ipv6 else ("ipv4",)

    def _lines(self) -> Iterator[str]:
        yield f"process lab {{ run /bin/sh {self.host.directory}/helper; encoder json; }}"
        for neighbor in self.speaker.neighbors:
            yield f"neighbor {neighbor.address} {{"
            yield from (f"  {line}" for line in self._neighbor(neighbor))
            yield from ("  static {", *self._routes(), "  }", "}")
        yield self.speaker.extra

    def _routes(self) -> Iterator[str]:
        seen: dict[str, int] = {}
        for one in self.speaker.originated:
            number = seen[one.prefix] = seen.get(one.prefix, 0) + 1
            yield f"    {self._route(one, number)};"

    def _route(self, one: common.Originated, path: int = 1) -> str:
        """In the words of the configuration and of the API alike."""
        # Not `self`, which is the session's address and so of one family only.
        words = [f"route {one.prefix} next-hop {one.next_hop or self._own(one.prefix)}"]
        if one.communities:
            words.append(f"community [ {' '.join(one.communities)} ]")
        if one.large_communities:
            words.append(f"large-community [ {' '.join(one.large_communities)} ]")
        if path > 1:
            words.append(f"path-information {ipaddress.IPv4Address(path)}")
        return " ".join(words)

    def _neighbor(self, neighbor: common.Neighbor) -> list[str]:
        local, hops = neighbor.local_address or self._own(neighbor.address), neighbor.multihop
        capabilities = [
            "route-refresh;",
            *([f"graceful-restart {neighbor.restart_time};"] if neighbor.graceful_restart else []),
            *(["add-path send/receive;"] if neighbor.add_path else []),
            *(["nexthop enable;"] if neighbor.extended_next_hop else []),
            *([] if neighbor.extended_messages else ["extended-message disable;"]),
        ]
        families = " ".join(f"{family} unicast;" for family in self._families)
        return [
            f"router-id {self.speaker.router_id};",
            f"local-address {local};",
            f"local-as {self.speaker.local_as};",
            f"peer-as {neighbor.remote_as};",
            f"hold-time {neighbor.hold_time};",
            "listen 179;",
            f"passive {str(neighbor.passive).lower()};",
            *([f'md5-password "{neighbor.password}";'] if neighbor.password else []),
            *(["outgoing-ttl 255;", "incoming-ttl 255;"] if neighbor.ttl_security else []),
            *([f"outgoing-ttl {hops};"] if hops > 1 else []),
            f"capability {{ {' '.join(capabilities)} }}",
            *(["nexthop { ipv4 unicast ipv6; }"] if neighbor.extended_next_hop else []),
            f"family {{ {families} }}",
            # Not `negotiated`, which it cannot write down with ADD-PATH, and ends the session;
            # not `refresh`, which is no JSON.
            "api { processes [ lab ]; neighbor-changes; receive { parsed; update; open; } }",
        ]

    def _own(self, other: str) -> str:
        """Its own address of the family of a prefix or an address."""
        family = common.family(other)
        # Asked once for each of ten thousand prefixes, and to ask the kernel is to run `ip`.
        if family not in self._addresses:
            self._addresses[family] = common.own_address(self.host, family)
        return self._addresses[family]


class _Heard:
    """What ExaBGP has told its process so far, by neighbour."""

    def __init__(self) -> None:
        self._offset = 0
        self.answers: list[str] = []
        """To commands."""
        self.up: set[str] = set()
        self.routes: dict[str, dict[tuple[str, str], common.Learned]] = {}
        """By prefix and path identifier."""
        self.opens: dict[str, dict[str, Any]] = {}
        self.updates: dict[str, int] = {}
        self.errors: dict[str, str] = {}

    def read(self, file: Path) -> None:
        """Take in what is new."""
        with file.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                text = line.decode()
                if text.startswith("{"):
                    self._take(json.loads(text, strict=False))
                else:
                    self.answers.append(text.strip())

    def _take(self, event: dict[str, Any]) -> None:
        if "neighbor" not in event:
            return
        neighbor = event["neighbor"]
        address = neighbor["address"]["peer"]
        if event["type"] == "open":
            self.opens[address] = neighbor["open"]
        elif event["type"] == "update":
            self.updates[address] = self.updates.get(address, 0) + 1
            self._update(address, neighbor["message"].get("update", {}))
        elif event["type"] == "state" and neighbor["state"] == "up":
            self.up.add(address)
            self.updates.pop(address, None)
        elif event["type"] == "state" and neighbor["state"] == "down":
            was_up = address in self.up
            self.up.discard(address)
            self.routes.pop(address, None)
            # Not of the lesser of two colliding connections.
            if was_up or "notification" in neighbor["reason"]:
                self.errors[address] = neighbor["reason"]

    def _update(self, address: str, update: dict[str, Any]) -> None:
        known = self.routes.setdefault(address, {})
        for routes in update.get("withdraw", {}).values():
            for route in routes:
                known.pop(_key(route), None)
        for hops in update.get("announce", {}).values():
            for hop, routes in hops.items():
                for route in routes:
                    known[_key(route)] = _learned(route["nlri"], hop, update)


def _key(route: dict[str, str]) -> tuple[str, str]:
    return route["nlri"], route.get("path-information", "")


def _learned(prefix: str, next_hop: str, update: dict[str, Any]) -> common.Learned:
    attributes = update["attribute"]
    return common.Learned(
        prefix,
        next_hop,
        tuple(attributes.get("as-path", ())),
        False,  # it keeps nothing
        update,
        frozenset(":".join(map(str, one)) for one in attributes.get("community", ())),
        frozenset(":".join(map(str, one)) for one in attributes.get("large-community", ())),
        attributes.get("med"),
        attributes.get("local-preference"),
    )
