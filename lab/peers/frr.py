"""FRR on a lab host: zebra and bgpd, without an init system."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lab import namespace, process
from lab.peers import common

_NAMES = {
    "4byteAs": "4-octet-as",
    "routeRefresh": "route-refresh",
    "enhancedRouteRefresh": "enhanced-route-refresh",
    "extendedMessage": "extended-message",
    "extendedNexthop": "extended-next-hop",
    "addPath": "add-path",
    "gracefulRestart": "graceful-restart",
}
"""vtysh's keys for capabilities, and the registry's names."""


class Frr:
    """FRR: zebra and bgpd. Witness: vtysh."""

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        self.host = host
        self.speaker = speaker
        self._directory = host.directory / "frr"
        self.process: process.Process
        self.zebra: process.Process | None = None

    def start(self, *, restarting: bool = False) -> None:  # noqa: ARG002 - it always says so
        """Start zebra (once) and bgpd, and wait until vtysh shows the configuration."""
        # Both drop to user frr; /run is the host's own and empty.
        install = ("install", "-d", "-o", "frr", "-g", "frr")
        self.host.run(*install, "/run/frr", self._directory)
        config = self._directory / "bgpd.conf"
        config.write_text(self._text())
        self.host.run("chown", "frr:frr", config)
        if self.zebra is None or not self.zebra.alive:
            self.zebra = self._daemon("zebra")
            namespace.wait_until(lambda: self._answers("zebra"), "zebra to answer")
        kernel = [] if self.speaker.install else ["--no_kernel"]
        self.process = self._daemon("bgpd", "-f", str(config), *kernel)
        namespace.wait_until(lambda: self._answers("bgpd"), "bgpd to answer")
        # bgpd answers before it has read its file.
        namespace.wait_until(
            lambda: f"router bgp {self.speaker.local_as}" in self.ctl("show running-config"),
            "bgpd to read its configuration",
        )

    def ctl(self, *commands: str) -> str:
        """Run vtysh commands; their output."""
        arguments = [word for command in commands for word in ("-c", command)]
        return self.host.run("vtysh", *arguments).stdout

    def configure(self, *lines: str) -> None:
        """Configuration lines inside `router bgp`."""
        self.ctl("configure terminal", f"router bgp {self.speaker.local_as}", *lines)

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""
        return bool(self._shown(address).get("bgpState") == "Established")

    def learned(self, prefix: str) -> common.Learned | None:
        """The best path learned from a neighbour."""
        answer = json.loads(
            self.ctl(f"show bgp {common.family(prefix)} unicast {prefix} json") or "{}"
        )
        for path in answer.get("paths", []):
            if path.get("bestpath", {}).get("overall") and not path.get("sourced"):
                # Of an IPv6 pair the link-local one may be the first, and the one in use.
                hops = sorted(hop.get("ip", "") for hop in path.get("nexthops", []))
                segments = path.get("aspath", {}).get("segments", [])
                return common.Learned(
                    answer.get("prefix", prefix),
                    hops[0] if hops else "",
                    tuple(number for segment in segments for number in segment.get("list", ())),
                    bool(path.get("stale")),
                    answer,
                    frozenset(path.get("community", {}).get("list", ())),
                    frozenset(path.get("largeCommunity", {}).get("list", ())),
                    path.get("metric"),
                    path.get("locPrf"),
                )
        return None

    def count(self, address: str, family: str) -> int:
        """As the neighbour's family counts what was accepted."""
        families = self._shown(address).get("addressFamilyInfo", {})
        count: int = families.get(f"{family}Unicast", {}).get("acceptedPrefixCounter", 0)
        return count

    def capabilities(self, address: str) -> frozenset[str]:
        """The neighbour's, from `show bgp neighbors`."""
        shown = self._shown(address).get("neighborCapabilities", {})
        return frozenset(
            name for key, name in _NAMES.items() if "eceived" in json.dumps(shown.get(key, ""))
        )

    def updates(self, address: str) -> int:
        """UPDATEs received."""
        count: int = self._shown(address).get("messageStats", {}).get("updatesRecv", 0)
        return count

    def notification(self, address: str) -> str:
        """From its log: what vtysh shows is gone with the next session."""
        return common.last_line(self.process, "%NOTIFICATION", address)

    def announce(self, prefix: str | common.Originated) -> None:
        """Originate one more prefix, without attributes."""
        one = common.originated(prefix)
        if _attributes(one):
            raise common.Unsupported("attributes are for what FRR originates from the start")
        self.configure(
            f"address-family {common.family(one.prefix)} unicast", f"network {one.prefix}"
        )

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self.configure(f"address-family {common.family(prefix)} unicast", f"no network {prefix}")

    def refresh(self, address: str) -> None:
        """`soft in`: FRR keeps nothing of what it filters, so it asks."""
        self.ctl(f"clear bgp {address} soft in")

    def reset(self, address: str) -> None:
        """`clear`: a Cease."""
        self.ctl(f"clear bgp {address}")

    def stop(self) -> None:
        """SIGTERM for bgpd (it sends Cease); zebra goes on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL for bgpd; zebra goes on."""
        self.process.kill()

    def _shown(self, address: str) -> dict[str, Any]:
        answer = json.loads(self.ctl(f"show bgp neighbors {address} json"))
        found: dict[str, Any] = answer.get(address, {})
        return found

    def _daemon(self, name: str, *more: str) -> process.Process:
        return self.host.start(
            f"/usr/lib/frr/{name}",
            *("-i", f"/run/frr/{name}.pid", "-z", "/run/frr/zserv.api", "--vty_socket", "/run/frr"),
            *("-A", "127.0.0.1", "--log", "stdout", "--log-level", "info", *more),
            log=f"{name}.log",
        )

    def _answers(self, daemon: str) -> bool:
        shown = self.host.run("vtysh", "-d", daemon, "-c", "show version", check=False)
        return shown.returncode == 0 and "FRRouting" in shown.stdout

    def _text(self) -> str:
        speaker = self.speaker
        lines = [
            f"router bgp {speaker.local_as}",
            f" bgp router-id {speaker.router_id}",
            # Without it FRR sends and takes nothing on eBGP (RFC 8212).
            " no bgp ebgp-requires-policy",
            " no bgp network import-check",
            " no bgp default ipv4-unicast",
            " bgp log-neighbor-changes",
            " bgp graceful-restart preserve-fw-state",
            *(
                f" bgp graceful-restart restart-time {n.restart_time}"
                for n in speaker.neighbors[:1]
            ),
        ]
        for neighbor in speaker.neighbors:
            lines += self._neighbor(neighbor)
        for family in ("ipv4", "ipv6"):
            lines += self._family(family)
        maps = [line for n, one in enumerate(speaker.originated) for line in _route_map(n, one)]
        return "\n".join([*lines, speaker.extra, "exit", *maps, ""])

    def _family(self, family: str) -> Iterator[str]:
        speaker = self.speaker
        yield f" address-family {family} unicast"
        for number, one in enumerate(speaker.originated):
            if common.family(one.prefix) == family:
                with_map = f" route-map own-{number}" if _attributes(one) else ""
                yield f"  network {one.prefix}{with_map}"
        given = any(one.next_hop for one in speaker.originated)
        if family == "ipv4" or speaker.ipv6:
            for neighbor in speaker.neighbors:
                who = f"  neighbor {neighbor.address}"
                yield f"{who} activate"
                if not given:
                    yield f"{who} next-hop-self"
                if neighbor.add_path:
                    yield f"{who} addpath-tx-all-paths"
                if neighbor.max_prefixes:
                    yield f"{who} maximum-prefix {neighbor.max_prefixes}"
        yield " exit-address-family"

    @staticmethod
    def _neighbor(neighbor: common.Neighbor) -> list[str]:
        who = f" neighbor {neighbor.address}"
        hold = neighbor.hold_time
        local, hops = neighbor.local_address, neighbor.multihop
        return [
            f"{who} remote-as {neighbor.remote_as}",
            f"{who} timers {max(hold // 3, 1)} {hold}",
            f"{who} timers connect 1",
            f"{who} advertisement-interval 0",
            f"{who} graceful-restart{'' if neighbor.graceful_restart else '-disable'}",
            *([f"{who} passive"] if neighbor.passive else []),
            *([f"{who} update-source {local}"] if local else []),
            *([f"{who} password {neighbor.password}"] if neighbor.password else []),
            *([f"{who} ttl-security hops 1"] if neighbor.ttl_security else []),
            *([f"{who} ebgp-multihop {hops}"] if hops > 1 else []),
            *([f"{who} capability extended-nexthop"] if neighbor.extended_next_hop else []),
        ]


def _attributes(one: common.Originated) -> list[str]:
    """The `set` lines of a route-map."""
    hop, own, large = one.next_hop, one.communities, one.large_communities
    command = "ip next-hop" if common.family(hop) == "ipv4" else "ipv6 next-hop global"
    return [
        *([f" set {command} {hop}"] if hop else []),
        *([f" set community {' '.join(own)}"] if own else []),
        *([f" set large-community {' '.join(large)}"] if large else []),
    ]


def _route_map(number: int, one: common.Originated) -> list[str]:
    lines = _attributes(one)
    return [f"route-map own-{number} permit 10", *lines, "exit"] if lines else []
