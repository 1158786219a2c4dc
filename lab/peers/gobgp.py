"""GoBGP on a lab host."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from lab import namespace, process
from lab.peers import common

_NAMES = {
    "FourOctetASN": "4-octet-as",
    "RouteRefresh": "route-refresh",
    "EnhancedRouteRefresh": "enhanced-route-refresh",
    "ExtendedNexthop": "extended-next-hop",
    "AddPath": "add-path",
    "GracefulRestart": "graceful-restart",
}
"""Its API's names of capabilities, and the registry's."""
_MOST = 100
"""Its tool adds one prefix per process (and `mrt inject` loses some): more would take minutes."""


class GoBgp:
    """gobgpd. Witness: gobgp."""

    def __init__(self, host: namespace.Host, speaker: common.Speaker) -> None:
        if any(neighbor.extended_messages for neighbor in speaker.neighbors):
            raise common.Unsupported("GoBGP has no extended messages")
        if len(speaker.originate) > _MOST:
            raise common.Unsupported(f"GoBGP originates {_MOST} prefixes here: feed it by BGP")
        self.host = host
        self.speaker = speaker
        self.process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it and wait until it knows its neighbours; `restarting` sets the Restart State bit."""
        config = self.host.directory / "gobgpd.conf"
        config.write_text(self._text())
        self.process = self.host.start(
            *("gobgpd", "-f", config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable"),
            *(["-r"] if restarting else []),
            log="gobgpd.log",
        )
        # It answers before it has read its file, and then refuses to originate.
        namespace.wait_until(
            lambda: len(self.ctl("neighbor") or ()) >= len(self.speaker.neighbors),
            "gobgpd to read its configuration",
        )
        self._announce(self.speaker.originated)

    def ctl(self, *words: str) -> Any:
        """One gobgp command; its JSON.

        Raises:
            namespace.LabError: it fails.
        """
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
                frozenset(map(_community, attributes.get(8, {}).get("communities") or ())),
                frozenset(map(_large, attributes.get(32, {}).get("value") or ())),
                attributes.get(4, {}).get("metric"),
                attributes.get(5, {}).get("value"),
            )
        return None

    def count(self, address: str, family: str) -> int:
        """As the neighbour's family counts what was accepted."""
        number = {"ipv4": 1, "ipv6": 2}[family]
        for one in self.ctl("neighbor", address).get("afi_safis", []):
            state = one.get("state", {})
            if state.get("family", {}).get("afi") == number:
                return int(state.get("accepted", 0))
        return 0

    def capabilities(self, address: str) -> frozenset[str]:
        """The neighbour's, from its state."""
        state = self.ctl("neighbor", address)["state"]
        shown = {one.get("type_url", "") for one in state.get("remote_cap") or ()}
        prefix, suffix = "type.googleapis.com/apipb.", "Capability"
        return frozenset(name for word, name in _NAMES.items() if prefix + word + suffix in shown)

    def updates(self, address: str) -> int:
        """UPDATEs received."""
        messages = self.ctl("neighbor", address)["state"].get("messages", {})
        return int(messages.get("received", {}).get("update", 0))

    def notification(self, address: str) -> str:
        """From its log: the tool does not tell."""
        return common.last_line(self.process, ' notification"', address)

    def announce(self, prefix: str | common.Originated) -> None:
        """Originate one more prefix, or one more path of it."""
        self._announce([common.originated(prefix)])

    def withdraw(self, prefix: str) -> None:
        """Take it back."""
        self.host.run("gobgp", "global", "rib", "del", "-a", common.family(prefix), prefix)

    def refresh(self, address: str) -> None:  # noqa: ARG002 - whichever
        """Its `softresetin` looks into its own tables only."""
        raise common.Unsupported("GoBGP never sends ROUTE-REFRESH")

    def reset(self, address: str) -> None:
        """`disable` and `enable`: a Cease. After its `reset` it stays idle for half a minute."""
        for word in ("disable", "enable"):
            self.host.run("gobgp", "neighbor", address, word)

    def stop(self) -> None:
        """SIGTERM: gobgpd sends Cease, or nothing where graceful restart is on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def _announce(self, originated: list[common.Originated]) -> None:
        seen: dict[str, int] = {}
        for one in originated:
            number = seen[one.prefix] = seen.get(one.prefix, 0) + 1
            values = {
                "identifier": str(number) if number > 1 else "",
                "nexthop": one.next_hop,
                "community": ",".join(one.communities),
                "large-community": ",".join(one.large_communities),
            }
            words = [word for pair in values.items() if pair[1] for word in pair]
            family = common.family(one.prefix)
            self.host.run("gobgp", "global", "rib", "add", "-a", family, one.prefix, *words)

    def _text(self) -> str:
        speaker = self.speaker
        parts = [
            f'[global.config]\n  as = {speaker.local_as}\n  router-id = "{speaker.router_id}"\n',
        ]
        for neighbor in speaker.neighbors:
            parts.append(_neighbor(neighbor))
            parts += _families(neighbor, six=speaker.ipv6)
        return "\n".join([*parts, speaker.extra, ""])


def _neighbor(neighbor: common.Neighbor) -> str:
    password, local = neighbor.password, neighbor.local_address
    parts = [
        textwrap.dedent(
            f"""\
            [[neighbors]]
              [neighbors.config]
                neighbor-address = "{neighbor.address}"
                peer-as = {neighbor.remote_as}
            """
        ),
        f'    auth-password = "{password}"\n' if password else "",
        "  [neighbors.transport.config]\n",
        f"    passive-mode = {str(neighbor.passive).lower()}\n",
        f'    local-address = "{local}"\n' if local else "",
        "  [neighbors.timers.config]\n    connect-retry = 1\n",
        f"    hold-time = {neighbor.hold_time}\n",
        f"    keepalive-interval = {max(neighbor.hold_time // 3, 1)}\n",
        "  [neighbors.graceful-restart.config]\n",
        f"    enabled = {str(neighbor.graceful_restart).lower()}\n",
        f"    restart-time = {neighbor.restart_time}\n",
    ]
    if neighbor.ttl_security:
        parts.append("  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n")
    if neighbor.multihop > 1:
        parts.append(
            f"  [neighbors.ebgp-multihop.config]\n"
            f"    enabled = true\n    multihop-ttl = {neighbor.multihop}\n"
        )
    if neighbor.add_path:
        parts.append("  [neighbors.add-paths.config]\n    receive = true\n    send-max = 8\n")
    return "".join(parts)


def _families(neighbor: common.Neighbor, *, six: bool) -> Iterator[str]:
    for family in ("ipv4-unicast", *(["ipv6-unicast"] if six else [])):
        yield (
            "  [[neighbors.afi-safis]]\n"
            f'    [neighbors.afi-safis.config]\n      afi-safi-name = "{family}"\n'
            "    [neighbors.afi-safis.mp-graceful-restart.config]\n"
            f"      enabled = {str(neighbor.graceful_restart).lower()}\n"
        )
        if neighbor.max_prefixes:
            yield (
                "    [neighbors.afi-safis.prefix-limit.config]\n"
                f"      max-prefixes = {neighbor.max_prefixes}\n"
            )


def _community(number: int) -> str:
    return f"{number >> 16}:{number & 0xFFFF}"


def _large(value: dict[str, int]) -> str:
    return ":".join(str(value.get(key, 0)) for key in ("ASN", "LocalData1", "LocalData2"))
