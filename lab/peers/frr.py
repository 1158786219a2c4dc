"""FRR on a lab host: zebra and bgpd, without an init system."""

from __future__ import annotations

import json

from lab import namespace, process
from lab.peers import common


class Frr:
    """FRR: zebra and bgpd. Witness: vtysh."""

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        self.host = host
        self.speaker = speaker
        self._directory = host.directory / "frr"
        self.process: process.Process
        self.zebra: process.Process | None = None

    def start(self) -> None:
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
        answer = json.loads(self.ctl(f"show bgp neighbors {address} json"))
        return bool(answer.get(address, {}).get("bgpState") == "Established")

    def learned(self, prefix: str) -> common.Learned | None:
        """The best path learned from a neighbour."""
        answer = json.loads(
            self.ctl(f"show bgp {common.family(prefix)} unicast {prefix} json") or "{}"
        )
        for path in answer.get("paths", []):
            if path.get("bestpath", {}).get("overall") and not path.get("sourced"):
                hops = path.get("nexthops", [])
                segments = path.get("aspath", {}).get("segments", [])
                return common.Learned(
                    answer.get("prefix", prefix),
                    hops[0].get("ip", "") if hops else "",
                    tuple(number for segment in segments for number in segment.get("list", ())),
                    bool(path.get("stale")),
                    answer,
                )
        return None

    def announce(self, prefix: str) -> None:
        """Originate one more prefix."""
        self.configure(f"address-family {common.family(prefix)} unicast", f"network {prefix}")

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self.configure(f"address-family {common.family(prefix)} unicast", f"no network {prefix}")

    def stop(self) -> None:
        """SIGTERM for bgpd (it sends Cease); zebra goes on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL for bgpd; zebra goes on."""
        self.process.kill()

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
            " bgp graceful-restart preserve-fw-state",
        ]
        for neighbor in speaker.neighbors:
            lines += self._neighbor(neighbor)
        for family in ("ipv4", "ipv6"):
            lines.append(f" address-family {family} unicast")
            lines += [f"  network {p}" for p in speaker.originate if common.family(p) == family]
            if family == "ipv4" or speaker.ipv6:
                for neighbor in speaker.neighbors:
                    lines.append(f"  neighbor {neighbor.address} activate")
                    lines.append(f"  neighbor {neighbor.address} next-hop-self")
            lines.append(" exit-address-family")
        return "\n".join([*lines, speaker.extra, ""])

    @staticmethod
    def _neighbor(neighbor: common.Neighbor) -> list[str]:
        who = f" neighbor {neighbor.address}"
        hold = neighbor.hold_time
        return [
            f"{who} remote-as {neighbor.remote_as}",
            f"{who} timers {max(hold // 3, 1)} {hold}",
            f"{who} timers connect 1",
            f"{who} advertisement-interval 0",
            f"{who} graceful-restart{'' if neighbor.graceful_restart else '-disable'}",
            *([f"{who} passive"] if neighbor.passive else []),
        ]
