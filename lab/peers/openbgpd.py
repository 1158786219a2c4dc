"""OpenBGPD on a lab host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

from lab import namespace, process
from lab.peers import common

_DIRECTORY = "/run/openbgpd"
"""For its control socket."""
_NAMES = {
    "as4byte": "4-octet-as",
    "refresh": "route-refresh",
    "enhanced_refresh": "enhanced-route-refresh",
    "add-path": "add-path",
    "graceful_restart": "graceful-restart",
}
"""bgpctl's keys for capabilities, and the registry's names. It shows no others."""


class OpenBgpd:
    """OpenBGPD 7.7. Witness: bgpctl.

    Of graceful restart it has the helper's side only: its own routes end with it.
    """

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        for neighbor in speaker.neighbors:
            if neighbor.extended_messages:
                raise common.Unsupported("OpenBGPD 7.7 has no extended messages")
            if neighbor.extended_next_hop:
                raise common.Unsupported("OpenBGPD 7.7 has no RFC 8950")
        if len({one.prefix for one in speaker.originated}) < len(speaker.originate):
            raise common.Unsupported("OpenBGPD originates one path per prefix")
        self.host = host
        self.speaker = speaker
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:  # noqa: ARG002 - it cannot say so
        """Start it and wait until bgpctl shows the neighbours."""
        config = self.host.directory / "bgpd.conf"
        config.write_text("".join(f"{line}\n" for line in self._lines()))
        # It refuses a file that others may read: there may be passwords in it.
        config.chmod(0o600)
        self.host.run("install", "-d", "-m", "755", _DIRECTORY)
        if self.speaker.ipv6:
            self._own_addresses_on_lo()
        self.process = self.host.start("/usr/sbin/bgpd", "-d", "-v", "-f", config, log="bgpd.log")
        namespace.wait_until(
            lambda: self.ctl("show", "neighbor").get("neighbors"), "bgpctl to answer"
        )

    def ctl(self, *words: str) -> Any:
        """One bgpctl command; its JSON, or None where it prints none.

        Raises:
            namespace.LabError: it fails.
        """
        output = self.host.run("bgpctl", "-j", *words).stdout
        return json.loads(output) if output.startswith("{") else None

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""
        return bool(self._shown(address)["state"] == "Established")

    def learned(self, prefix: str) -> common.Learned | None:
        """The best path learned from a neighbour."""
        for path in self.ctl("show", "rib", "detail", prefix).get("rib", ()):
            if not path.get("best") or path.get("announced") or path["prefix"] != prefix:
                continue
            return common.Learned(
                prefix,
                path["exit_nexthop"],
                tuple(map(int, path["aspath"].split())),
                bool(path.get("stale")),
                path,
                frozenset(path.get("communities", ())),
                frozenset(path.get("large_communities", ())),
                path["metric"],
                path["localpref"],
            )
        return None

    def count(self, address: str, family: str) -> int:
        """Prefixes of the neighbour in Loc-RIB."""
        name = {"ipv4": "inet", "ipv6": "inet6"}[family]
        return len(self.ctl("show", "rib", "neighbor", address, name).get("rib", ()))

    def capabilities(self, address: str) -> frozenset[str]:
        """The neighbour's, of the session."""
        remote = self._shown(address).get("session", {}).get("remote", {})
        shown = remote.get("capabilities", {})
        return frozenset(name for key, name in _NAMES.items() if shown.get(key))

    def updates(self, address: str) -> int:
        """Prefixes that came in UPDATEs, again and again."""
        count: int = self._shown(address)["stats"]["update"]["received"]["updates"]
        return count

    def notification(self, address: str) -> str:
        """From its log."""
        return common.last_line(self.process, "notification", address)

    def announce(self, prefix: str | common.Originated) -> None:
        """Originate one more prefix."""
        one = common.originated(prefix)
        self.ctl("network", "add", one.prefix, *" ".join(_attributes(one)).split())

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self.ctl("network", "delete", prefix)

    def refresh(self, address: str) -> None:
        """`refresh`."""
        self.ctl("neighbor", address, "refresh")

    def reset(self, address: str) -> None:
        """`clear`: a Cease."""
        self.ctl("neighbor", address, "clear")

    def stop(self) -> None:
        """SIGTERM: it sends Cease."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL for all of its processes."""
        # Stopped first: whichever sees another one go would say Cease.
        children = process.children(self.process.pid)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.process.kill()

    def _own_addresses_on_lo(self) -> None:
        """So that they are its next hops of the other family than the session's.

        Debian's takes the first of `lo` for that, not of the session's interface, and would
        announce ::1 and 127.0.0.1.
        """
        address = ("ip", "address")
        six, four = (common.own_address(self.host, family) for family in ("ipv6", "ipv4"))
        self.host.run(*address, "replace", f"{six}/128", "dev", "lo", "nodad")
        self.host.run(*address, "flush", "dev", "lo", "scope", "host", "to", "127.0.0.0/8")
        self.host.run(*address, "replace", f"{four}/32", "dev", "lo")
        self.host.run(*address, "replace", "127.0.0.1/8", "dev", "lo", "scope", "global")

    def _shown(self, address: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ctl("show", "neighbor", address)["neighbors"][0]
        return found

    def _lines(self) -> Iterator[str]:
        speaker = self.speaker
        yield f"AS {speaker.local_as}"
        yield f"router-id {speaker.router_id}"
        yield f"fib-update {'yes' if speaker.install else 'no'}"
        yield "connect-retry 1"
        for one in speaker.originated:
            attributes = " ".join(_attributes(one))
            yield f"network {one.prefix}" + (f" set {{ {attributes} }}" if attributes else "")
        for neighbor in speaker.neighbors:
            yield f"neighbor {neighbor.address} {{"
            yield from (f"  {line}" for line in self._neighbor(neighbor))
            yield "}"
        yield from ("allow from any", "allow to any", speaker.extra)

    def _neighbor(self, neighbor: common.Neighbor) -> list[str]:
        six = "unicast" if self.speaker.ipv6 else "none"
        local, most = neighbor.local_address, neighbor.max_prefixes
        return [
            f"remote-as {neighbor.remote_as}",
            f"holdtime {neighbor.hold_time}",
            "announce IPv4 unicast",
            f"announce IPv6 {six}",
            "announce enhanced refresh yes",
            f"announce restart {'yes' if neighbor.graceful_restart else 'no'}",
            *(["passive"] if neighbor.passive else []),
            *([f"local-address {local}"] if local else []),
            *([f"tcp md5sig password {neighbor.password}"] if neighbor.password else []),
            *(["ttl-security yes"] if neighbor.ttl_security else []),
            *([f"multihop {neighbor.multihop}"] if neighbor.multihop > 1 else []),
            *([f"max-prefix {most}"] if most else []),
            *(
                ["announce add-path recv yes", "announce add-path send all"]
                if neighbor.add_path
                else []
            ),
        ]


def _attributes(one: common.Originated) -> list[str]:
    """As the configuration and bgpctl spell them."""
    return [
        *([f"nexthop {one.next_hop}"] if one.next_hop else []),
        *(f"community {value}" for value in one.communities),
        *(f"large-community {value}" for value in one.large_communities),
    ]
