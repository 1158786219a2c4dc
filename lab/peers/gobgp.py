"""GoBGP on a lab host."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from lab import namespace, process
from lab.peers import common


class GoBgp:
    """gobgpd. Witness: gobgp."""

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        self.host = host
        self.speaker = speaker
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it and wait until gobgp answers; `restarting` sets the Restart State bit (-r)."""
        config = self.host.directory / "gobgpd.conf"
        config.write_text(self._text())
        self.process = self.host.start(
            *("gobgpd", "-f", config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable"),
            *(["-r"] if restarting else []),
            log="gobgpd.log",
        )
        namespace.wait_until(
            lambda: self.host.run("gobgp", "global", check=False).returncode == 0,
            "gobgp to answer",
        )
        for prefix in self.speaker.originate:
            self.announce(prefix)

    def ctl(self, *words: str) -> Any:
        """One gobgp command; its JSON."""
        return json.loads(self.host.run("gobgp", "-j", *words).stdout or "null")

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""
        state = self.ctl("neighbor", address)["state"]
        return bool(state.get("session_state") == 6)

    def learned(self, prefix: str) -> common.Learned | None:
        """The best path learned from a neighbour."""
        table = self.ctl("global", "rib", "-a", common.family(prefix)) or {}
        for path in table.get(prefix, []):
            if path.get("source-id", "<nil>") in {"<nil>", "0.0.0.0", ""}:
                continue
            attributes = {attribute["type"]: attribute for attribute in path["attrs"]}
            hop = attributes.get(3) or attributes.get(14) or {}
            segments = attributes.get(2, {}).get("as_paths") or []
            return common.Learned(
                prefix,
                hop.get("nexthop", ""),
                tuple(number for segment in segments for number in segment.get("asns") or ()),
                bool(path.get("stale")),
                path,
            )
        return None

    def announce(self, prefix: str) -> None:
        """Originate one more prefix."""
        self.host.run("gobgp", "global", "rib", "add", "-a", common.family(prefix), prefix)

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self.host.run("gobgp", "global", "rib", "del", "-a", common.family(prefix), prefix)

    def stop(self) -> None:
        """SIGTERM: gobgpd sends Cease, or nothing where graceful restart is on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def _text(self) -> str:
        speaker = self.speaker
        parts = [
            f'[global.config]\n  as = {speaker.local_as}\n  router-id = "{speaker.router_id}"\n',
        ]
        for neighbor in speaker.neighbors:
            graceful = str(neighbor.graceful_restart).lower()
            families = ["ipv4-unicast", *(["ipv6-unicast"] if speaker.ipv6 else [])]
            parts.append(
                textwrap.dedent(
                    f"""\
                    [[neighbors]]
                      [neighbors.config]
                        neighbor-address = "{neighbor.address}"
                        peer-as = {neighbor.remote_as}
                      [neighbors.transport.config]
                        passive-mode = {str(neighbor.passive).lower()}
                      [neighbors.timers.config]
                        connect-retry = 1
                        hold-time = {neighbor.hold_time}
                        keepalive-interval = {max(neighbor.hold_time // 3, 1)}
                      [neighbors.graceful-restart.config]
                        enabled = {graceful}
                        restart-time = {neighbor.restart_time}
                    """
                )
            )
            parts += [
                "  [[neighbors.afi-safis]]\n"
                f'    [neighbors.afi-safis.config]\n      afi-safi-name = "{family}"\n'
                "    [neighbors.afi-safis.mp-graceful-restart.config]\n"
                f"      enabled = {graceful}\n"
                for family in families
            ]
        return "\n".join([*parts, speaker.extra, ""])
