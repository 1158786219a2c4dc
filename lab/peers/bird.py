"""BIRD 2 on a lab host."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from lab import namespace, process
from lab.peers import common

_NAMES = {
    "4-octet AS numbers": "4-octet-as",
    "Route refresh": "route-refresh",
    "Enhanced refresh": "enhanced-route-refresh",
    "Extended message": "extended-message",
    "Extended next hop": "extended-next-hop",
    "ADD-PATH": "add-path",
    "Graceful restart": "graceful-restart",
}
"""birdc's words for capabilities, and the registry's."""


class Bird:
    """BIRD 2. Witness: birdc."""

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        self.host = host
        self.speaker = speaker
        self._config = host.directory / "bird.conf"
        self._originate = speaker.originated
        self._started = False
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it and wait until birdc answers; `restarting` is `bird -R`, to use after `kill`."""
        self._write()
        self._started = True
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
        return re.search(r"BGP state:\s+Established", self._shown(address)) is not None

    def learned(self, prefix: str) -> common.Learned | None:
        """The primary route, if it came from a neighbour."""
        text = self.ctl(f"show route for {prefix} all primary")
        # `for` is longest match: the answer may be a broader route.
        line = re.search(rf"(?m)^{re.escape(prefix)}\s.*\[(to_\w+)", text)
        if line is None:
            return None
        # BIRD marks long-lived stale routes only; of plain graceful restart the protocol tells.
        source = self.ctl(f"show protocols all {line.group(1)}")
        med, local_pref = _attribute(text, "med"), _attribute(text, "local_pref")
        return common.Learned(
            prefix,
            # An IPv6 one may have a link-local one after it.
            next(iter(_attribute(text, "next_hop").split()), ""),
            tuple(map(int, _attribute(text, "as_path").split())),
            "Neighbor graceful restart active" in source,
            text,
            _values(_attribute(text, "community")),
            _values(_attribute(text, "large_community")),
            int(med) if med else None,
            int(local_pref) if local_pref else None,
        )

    def count(self, address: str, family: str) -> int:
        """As `show protocols all` counts what it imported."""
        found = re.search(
            rf"Channel {family}\n(?:.*\n)*?\s+Routes:\s+(\d+) imported", self._shown(address)
        )
        return int(found.group(1)) if found else 0

    def capabilities(self, address: str) -> frozenset[str]:
        """The neighbour's, from `show protocols all`."""
        theirs = self._shown(address).partition("Neighbor capabilities")[2].partition("Session:")[0]
        return frozenset(name for word, name in _NAMES.items() if word in theirs)

    def updates(self, address: str) -> int:
        """Routes that came in UPDATEs, both families, again and again."""
        found = re.findall(r"Import updates:\s+(\d+)", self._shown(address))
        return sum(map(int, found))

    def withdrawals(self, address: str) -> int:
        """Routes that it had and that were withdrawn in UPDATEs, both families."""
        found = re.findall(r"Import withdraws:(?:\s+\S+){4}\s+(\d+)", self._shown(address))
        return sum(map(int, found))

    def notification(self, address: str) -> str:
        """From its log: what birdc shows is gone with the next session."""
        said = "<RMT>", "<ERR>"
        found = (common.last_line(self.process, word, self._name(address) + ": ") for word in said)
        return max(found)  # lines begin with the time

    def announce(self, prefix: str | common.Originated) -> None:
        """Originate one more prefix."""
        self._originate.append(common.originated(prefix))
        self._reload()

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self._originate = [one for one in self._originate if one.prefix != prefix]
        self._reload()

    def originate(self, *prefixes: str | common.Originated) -> None:
        """Originate exactly these from now on, or from its next start on if it does not run."""
        self._originate = list(map(common.originated, prefixes))
        self._reload()

    def change(self, **values: Any) -> None:
        """Other values of its `Speaker` from now on, or from its next start on."""
        self.speaker = dataclasses.replace(self.speaker, **values)
        self._reload()

    def refresh(self, address: str) -> None:
        """Import again: BIRD keeps no refused routes, so it asks for them."""
        self.ctl(f"reload in {self._name(address)}")

    def reset(self, address: str) -> None:
        """Restart the protocol: a Cease."""
        self.ctl(f"restart {self._name(address)}")

    def stop(self) -> None:
        """SIGTERM: BIRD sends Cease, or nothing where graceful restart is on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    @staticmethod
    def _name(address: str) -> str:
        return "to_" + re.sub(r"[.:]", "_", address)

    def _shown(self, address: str) -> str:
        return self.ctl(f"show protocols all {self._name(address)}")

    def _reload(self) -> None:
        self._write()
        if self._started and self.process.alive:
            self.ctl("configure")

    def _write(self) -> None:
        speaker = self.speaker
        parts = [
            f"router id {speaker.router_id};\nlog stderr all;",
            "protocol device { scan time 1; }",
        ]
        for family in ("ipv4", "ipv6"):
            parts += self._own(family)
            if speaker.install:
                channel = f"{family} {{ import none; export where source = RTS_BGP; }};"
                parts.append(f"protocol kernel kernel_{family} {{ {channel} }}")
        parts += [self._neighbor(neighbor) for neighbor in speaker.neighbors]
        self._config.write_text("\n".join([*parts, speaker.extra, ""]))

    def _own(self, family: str) -> list[str]:
        """Static protocols, one more for each further path of a prefix."""
        rounds: list[dict[str, str]] = [{}]
        for one in self._originate:
            if common.family(one.prefix) != family:
                continue
            free = next((there for there in rounds if one.prefix not in there), None)
            if free is None:
                rounds.append(free := {})
            free[one.prefix] = f"  route {one.prefix} blackhole{_attributes(one)};\n"
        return [
            f"protocol static own_{family}_{number} {{\n  {family};\n{''.join(lines.values())}}}"
            for number, lines in enumerate(rounds)
        ]

    def _neighbor(self, neighbor: common.Neighbor) -> str:
        names = ["ipv4", *(["ipv6"] if self.speaker.ipv6 else [])]
        channels = "".join(f"  {name} {self._channel(neighbor, name)};\n" for name in names)
        name, options = (
            self._name(neighbor.address),
            "".join(map("  {}\n".format, self._of(neighbor))),
        )
        return f"protocol bgp {name} {{\n{options}{channels}}}"

    def _of(self, neighbor: common.Neighbor) -> list[str]:
        hops = neighbor.multihop
        local = f"local {neighbor.local_address}" if neighbor.local_address else "local"
        return [
            f"{local} as {self.speaker.local_as};",
            f"neighbor {neighbor.address} as {neighbor.remote_as};",
            "direct;" if hops == 1 else f"multihop {hops};",
            f"hold time {neighbor.hold_time};",
            "connect retry time 1; connect delay time 1; error wait time 1, 2;",
            "debug { states, events };",
            f"graceful restart {'on' if neighbor.graceful_restart else 'off'};",
            f"graceful restart time {neighbor.restart_time};",
            *(["passive on;"] if neighbor.passive else []),
            *([f'password "{neighbor.password}";'] if neighbor.password else []),
            *(["ttl security on;"] if neighbor.ttl_security else []),
            *(["enable extended messages on;"] if neighbor.extended_messages else []),
        ]

    def _channel(self, neighbor: common.Neighbor, family: str) -> str:
        # A next hop that is given stays; of all else it is BIRD itself, also of what it passes on.
        given = any(one.next_hop for one in self._originate)
        return " ".join(
            [
                "{ import all; export where source ~ [RTS_STATIC, RTS_BGP];",
                "" if given else "next hop self;",
                "add paths on;" if neighbor.add_path else "",
                "extended next hop on;" if neighbor.extended_next_hop and family == "ipv4" else "",
                f"import limit {neighbor.max_prefixes} action disable;"
                if neighbor.max_prefixes
                else "",
                "}",
            ]
        )


def _attributes(one: common.Originated) -> str:
    """Of a static route, in BIRD's filter language."""
    lines = [f"bgp_next_hop = {one.next_hop};"] if one.next_hop else []
    for kind, values in (("", one.communities), ("large_", one.large_communities)):
        sets = (f"({value.replace(':', ', ')})" for value in values)
        lines += [f"bgp_{kind}community.add({value});" for value in sets]
    return f" {{ {' '.join(lines)} }}" if lines else ""


def _attribute(text: str, name: str) -> str:
    """The value of an attribute in `show route all`."""
    found = re.search(rf"BGP\.{name}:(.*)", text)
    return found.group(1).strip() if found else ""


def _values(text: str) -> frozenset[str]:
    """Communities, which birdc shows as "(64512,1) (64512,2)" or with blanks within."""
    return frozenset(
        ":".join(re.findall(r"\d+", value)) for value in re.findall(r"\(([^)]*)\)", text)
    )
