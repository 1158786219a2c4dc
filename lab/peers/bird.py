"""BIRD 2 on a lab host."""

from __future__ import annotations

import re
import textwrap

from lab import namespace, process
from lab.peers import common


class Bird:
    """BIRD 2. Witness: birdc."""

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        self.host = host
        self.speaker = speaker
        self._config = host.directory / "bird.conf"
        self._originate = list(speaker.originate)
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it and wait until birdc answers; `restarting` is `bird -R`, to use after `kill`."""
        self._write()
        self.process = self.host.start(
            *("bird", "-f", "-c", self._config, "-s", "/run/bird.ctl"),
            *(["-R"] if restarting else []),
            log="bird.log",
        )
        namespace.wait_until(lambda: self.ctl("show status"), "birdc to answer")

    def ctl(self, command: str) -> str:
        """One birdc command; its output, also when BIRD says that there is nothing to show.

        Raises:
            namespace.LabError: BIRD does not answer, or does not understand.
        """
        done = self.host.run("birdc", "-s", "/run/bird.ctl", command, check=False)
        if done.returncode and "Network not found" not in done.stdout:
            raise namespace.LabError(f"birdc {command}: {(done.stdout + done.stderr).strip()}")
        return done.stdout

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""
        text = self.ctl(f"show protocols all {self._name(address)}")
        return re.search(r"BGP state:\s+Established", text) is not None

    def learned(self, prefix: str) -> common.Learned | None:
        """The primary route, if it came from a neighbour."""
        text = self.ctl(f"show route for {prefix} all primary")
        # `for` is longest match: the answer may be a broader route.
        line = re.search(rf"(?m)^{re.escape(prefix)}\s.*\[(to_\w+)", text)
        if line is None:
            return None
        path = re.search(r"BGP\.as_path:([ \d]*)", text)
        hop = re.search(r"BGP\.next_hop:\s*(\S+)", text)
        # BIRD marks long-lived stale routes only; of plain graceful restart the protocol tells.
        source = self.ctl(f"show protocols all {line.group(1)}")
        return common.Learned(
            prefix,
            hop.group(1) if hop else "",
            tuple(map(int, path.group(1).split())) if path else (),
            "Neighbor graceful restart active" in source,
            text,
        )

    def announce(self, prefix: str) -> None:
        """Originate one more prefix."""
        self._originate.append(prefix)
        self._write()
        self.ctl("configure")

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self._originate.remove(prefix)
        self._write()
        self.ctl("configure")

    def stop(self) -> None:
        """SIGTERM: BIRD sends Cease."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    @staticmethod
    def _name(address: str) -> str:
        return "to_" + re.sub(r"[.:]", "_", address)

    def _write(self) -> None:
        speaker = self.speaker
        parts = [
            f"router id {speaker.router_id};\nlog stderr all;",
            "protocol device { scan time 1; }",
        ]
        for family in ("ipv4", "ipv6"):
            routes = [p for p in self._originate if (":" in p) == (family == "ipv6")]
            lines = "".join(f"  route {prefix} blackhole;\n" for prefix in routes)
            parts.append(f"protocol static own_{family} {{\n  {family};\n{lines}}}")
            if speaker.install:
                channel = f"{family} {{ import none; export where source = RTS_BGP; }};"
                parts.append(f"protocol kernel kernel_{family} {{ {channel} }}")
        parts += [self._neighbor(neighbor) for neighbor in speaker.neighbors]
        self._config.write_text("\n".join([*parts, speaker.extra, ""]))

    def _neighbor(self, neighbor: common.Neighbor) -> str:
        channel = "{ import all; export where source ~ [RTS_STATIC, RTS_BGP]; next hop self; }"
        families = ["ipv4", *(["ipv6"] if self.speaker.ipv6 else [])]
        return (
            textwrap.dedent(
                f"""\
            protocol bgp {self._name(neighbor.address)} {{
              local as {self.speaker.local_as};
              neighbor {neighbor.address} as {neighbor.remote_as};
              direct;
              hold time {neighbor.hold_time};
              connect retry time 1; connect delay time 1; error wait time 1, 2;
              debug {{ states, events }};
              graceful restart {"on" if neighbor.graceful_restart else "off"};
              graceful restart time {neighbor.restart_time};
              {"passive on;" if neighbor.passive else ""}
            """
            )
            + "".join(f"  {family} {channel};\n" for family in families)
            + "}"
        )
