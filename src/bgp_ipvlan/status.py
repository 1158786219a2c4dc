"""One snapshot of everything, as plain JSON values: for the command line, pages and metrics.

Reads what others hold and changes nothing. The keys are an interface: people's scripts
read `--json`.
"""

from __future__ import annotations

import ipaddress
import itertools
import time
from collections.abc import Iterator
from typing import Any

import bgp_ipvlan
from bgp_ipvlan import arp as arp_
from bgp_ipvlan import errors, model, occupancy, operations, ports, reconcile, rules
from bgp_ipvlan import state as state_
from bgp_ipvlan.engines.embedded import sockets

Json = dict[str, Any]


class Status:
    """See the module.

    Args:
        operations: the configuration in force, and the drain.
        state: networks and endpoints.
        reconciler: routes, refusals, counters.
        engine: the neighbours.
    """

    def __init__(
        self,
        operations: operations.Operations,
        state: state_.State,
        *,
        reconciler: reconcile.Reconciler,
        engine: ports.Engine,
    ) -> None:
        self._operations = operations
        self._state = state
        self._reconciler = reconciler
        self._forwarding = reconciler.forwarding
        self._engine = engine
        self._started = time.time()

    def summary(self) -> Json:
        """The whole at a glance."""
        settings, neighbors = self._operations.settings, self._engine.neighbors()
        established = [n for n in neighbors if n.state is model.SessionState.ESTABLISHED]
        return {
            "version": bgp_ipvlan.__version__,
            "uptime_seconds": int(time.time() - self._started),
            "local_as": settings.local_as,
            "router_id": str(settings.router_id or ""),
            "configuration_file": str(settings.config_file or ""),
            **self.engine(),
            "drain": self.drain(),
            "synced": self._reconciler.is_synced,
            "neighbors": {"configured": len(neighbors), "established": len(established)},
            "networks": len(self._state.networks),
            "endpoints": len(self._state.endpoints),
            "routes": {
                "wanted": self._wanted_count(),
                "pending": self._pending_count(),
                "refused": self._refused_count(),
            },
            "counters": {
                "audits": self._reconciler.counters.audits,
                "repaired": self._reconciler.counters.repaired + self._reconciler.arp.repaired,
                "failed": self._reconciler.counters.failed,
                "overflows": self._reconciler.counters.overflows,
            },
            "arp_filter": self._arp_filter(),
            "pools": {
                "given": len(self._state.pools),
                "unclaimed": occupancy.unclaimed(self._state),
            },
            "warnings": list(self._warnings()),
        }

    def engine(self) -> Json:
        """Who speaks BGP, and what is particular about it."""
        return {"engine": str(self._operations.settings.engine), **self._engine.about()}

    def _arp_filter(self) -> Json:
        """Where ARP for addresses of ours is dropped, and for how many of them."""
        arp = self._reconciler.arp
        return {
            "interfaces": list(arp.kept.interfaces),
            "addresses": sum(last - first + 1 for first, last in arp.kept.ranges),
            "reason": arp.trouble.reason if arp.trouble else None,
        }

    def _warnings(self) -> Iterator[str]:
        """What a person should look at, each with its reason code."""
        yield from self._engine.warnings()
        yield from self._speaker_warnings()
        yield from self._arp_warnings()
        for table in self._reconciler.rules.missed:
            yield f"{rules.remedy(table)} [no-rule]"
        for network in self._state.networks.values():
            own = self._reconciler.own.get(network.id)
            for prefix, reason in own.notes.items() if own else ():
                if reason not in {"internal", "advertise-none", "advertise-endpoint"}:
                    yield f"network {network.short}: {prefix} is not announced [{reason}]"
        for endpoint in self._state.endpoints.values():
            published = [p for p in endpoint.ports if p.host_port]
            if published:
                ports_ = ", ".join(f"{p.host_port}:{p.port}" for p in published)
                yield (
                    f"endpoint {endpoint.short}: -p {ports_} has no effect, the container's own "
                    f"address is reachable [ports-ignored]"
                )
        yield from occupancy.warnings(self._state)
        for family, waiting in self._reconciler.waiting.items():
            if waiting:
                yield (
                    f"{len(waiting)} {family.name.lower()} prefixes have no route, "
                    f"--max-routes {self._operations.settings.max_routes} is reached [max-routes]"
                )
        for family, refused in self._reconciler.refused.items():
            for key in [k for k, reason in refused.items() if reason == "duplicate-prefix"]:
                where = ", ".join(str(p.next_hop) for p in self._engine.best(family, key))
                yield (
                    f"{model.prefix(family, key)} is announced by this host and by {where} "
                    f"[duplicate-prefix]"
                )

    def _arp_warnings(self) -> Iterator[str]:
        arp = self._reconciler.arp
        if arp.trouble is not None:
            yield f"{arp.trouble} [{arp.trouble.reason}]"
        for parent in sorted(arp.without_default):
            yield f"{parent} has no IPv4 default route: {arp_.REMEDY} [no-default-route]"

    def _speaker_warnings(self) -> Iterator[str]:
        drain = self._operations.drain.progress
        if drain is not None:
            what = "drained" if drain.done else "being drained"
            yield (
                f"this host is {what} since {_when(drain.since)}, `bgp-ipvlan undrain` ends it "
                f"[drained]"
            )
        for one in self._engine.neighbors():
            # Drained says it once for all.
            if one.idle_reason and not (drain and one.idle_reason == "shutdown"):
                why = f": {one.last_error}" if one.last_error else ""
                yield f"neighbor {one.address} is left alone{why} [{one.idle_reason}]"
        for text in self._operations.settings.warnings:
            if text.endswith("[readable-password]"):
                yield text
        yield from self._vrf_warnings()

    def _vrf_warnings(self) -> Iterator[str]:
        """Neighbours in a VRF that cannot connect to us."""
        links = self._reconciler.around.links
        if not self._operations.settings.listen_port or sockets.hears_vrfs():
            return
        for one in self._engine.neighbors():
            asked = self._operations.neighbors.get(one.address)
            link = links.get(asked.bind_interface) if asked else None
            in_vrf = link is not None and (link.vrf or link.kind == "vrf")
            if in_vrf and one.state is not model.SessionState.ESTABLISHED:
                yield (
                    f"neighbor {one.address} is in a VRF and cannot connect to this host: `sysctl "
                    f"-w net.ipv4.tcp_l3mdev_accept=1` [vrf-not-listening]"
                )

    def drain(self) -> Json | None:
        """How far taking this host out of the routing is; None if nobody wants that."""
        progress = self._operations.drain.progress
        if progress is None:
            return None
        return {
            "done": progress.done,
            "since": progress.since,
            "message": progress.message,
            "remaining_seconds": 0.0 if progress.done else max(0.0, progress.until - time.time()),
        }

    def networks(self) -> list[Json]:
        """Each network with what is announced for it."""
        return [self._network(network) for network in self._state.networks.values()]

    def _network(self, network: model.Network) -> Json:
        own = self._reconciler.own.get(network.id)
        withheld = self._engine.withheld()
        subnets = []
        for subnet in network.subnets:
            reason = withheld.get(subnet.prefix)
            announcement = own.announcements.get(subnet.prefix) if own and not reason else None
            subnets.append(
                {
                    "prefix": str(subnet.prefix),
                    "gateway": str(subnet.gateway) if subnet.gateway else None,
                    "announced": announcement is not None,
                    "next_hop": str(announcement.next_hop) if announcement else None,
                    "reason": reason or (own.notes.get(subnet.prefix) if own else None),
                    "ipam": occupancy.of_subnet(self._state, subnet.prefix),
                }
            )
        return {
            "id": network.id,
            "parent": network.parent,
            "mode": network.mode,
            "flag": network.flag,
            "mtu": network.mtu,
            "internal": network.internal,
            "host_access": network.shim,
            "subnets": subnets,
            "endpoints": [
                {
                    "id": endpoint.id,
                    "addresses": [str(address) for address in endpoint.addresses],
                    "joined": endpoint.joined,
                }
                for endpoint in self._state.endpoints_of(network.id)
            ],
        }

    def routes(self, limit: int | None = None) -> Json:
        """Routes we keep in the kernel, and learned prefixes that are refused.

        Args:
            limit: at most so many of each kind; `total` and `total_refused` tell how many
                there are.
        """
        return {
            "routes": list(itertools.islice(self._kept(), limit)),
            "refused": list(itertools.islice(self._refused(), limit)),
            "total": self._wanted_count(),
            "total_refused": self._refused_count(),
        }

    def _kept(self) -> Iterator[Json]:
        names = self._reconciler.around.names
        for table, book in self._forwarding.books.items():
            for key, value in book.wanted.items():
                pending = book.actual(key) is not value
                yield self._route(table, key, value, names) | {"pending": pending}

    def _wanted_count(self) -> int:
        return sum(len(book.wanted) for book in self._forwarding.books.values())

    def _pending_count(self) -> int:
        """Those of them that the kernel refused, or that somebody contests."""
        books = self._forwarding.books.values()
        return sum(key in book.wanted for book in books for key in book.failing)

    def _refused(self) -> Iterator[Json]:
        """First what won the decision and is no route, then paths that took no part in it."""
        for family, refused in self._reconciler.refused.items():
            for key, reason in refused.items():
                yield self._refusal(family, key, self._engine.best(family, key), reason)
        for family in model.Family:
            for one in self._engine.refusals(family):
                yield self._refusal(family, one.prefix, (one.path,), one.reason)

    def _refused_count(self) -> int:
        paths = sum(one.refused for one in self._engine.neighbors())
        return paths + sum(len(refused) for refused in self._reconciler.refused.values())

    @staticmethod
    def _refusal(
        family: model.Family, key: model.Nlri, paths: tuple[model.Path, ...], reason: str
    ) -> Json:
        return {
            "prefix": str(model.prefix(family, key)),
            "next_hops": [str(path.next_hop) for path in paths],
            "neighbor": str(paths[0].neighbor) if paths else None,
            "as_path": list(paths[0].as_path) if paths else [],
            "originator_id": _originator(paths),
            "reason": reason,
        }

    def _route(
        self,
        table: model.Table,
        key: model.Nlri,
        value: model.RouteValue,
        names: dict[int, str],
    ) -> Json:
        family, number = table
        out: Json = {"prefix": str(model.prefix(family, key)), "table": number}
        match value:
            case model.Via():
                hops = [
                    {"gateway": str(h.gateway), "interface": names.get(h.ifindex, "")}
                    for h in self._forwarding.next_hops(value)
                ]
                paths = self._engine.best(family, key)
                out |= {"type": "learned", "next_hops": hops}
                out["neighbor"] = str(paths[0].neighbor) if paths else None
                out["as_path"] = list(paths[0].as_path) if paths else []
            case model.Device(ifindex, source):
                out |= {"type": "endpoint", "interface": names.get(ifindex, "")}
                out["source"] = str(source) if source else None
            case model.Blackhole():
                out |= {"type": "blackhole"}
        return out

    def neighbors(self, address: str = "") -> list[Json]:
        """The neighbours, those from a range included.

        Args:
            address: this one only; empty is all.

        Raises:
            errors.Refused: `unknown-neighbor`.
        """
        found = [self._neighbor(one) for one in self._engine.neighbors()]
        if not address:
            return found
        try:
            wanted = str(ipaddress.ip_address(address))
        except ValueError:
            wanted = address
        found = [one for one in found if one["address"] == wanted]
        if not found:
            raise errors.Refused(
                "unknown-neighbor",
                f"there is no neighbor {address}: see `bgp-ipvlan neighbors`",
            )
        return found

    def one_neighbor(self, address: model.Address) -> Json:
        """One that is there."""
        return self.neighbors(str(address))[0]

    def _neighbor(self, one: model.NeighborStatus) -> Json:
        return {
            "address": str(one.address),
            "description": one.description,
            "remote_as": one.remote_as,
            "local_as": one.local_as,
            "state": one.state,
            "since": one.since,
            "idle_reason": one.idle_reason,
            "last_error": one.last_error,
            "local_address": str(one.local_address) if one.local_address else None,
            "router_id": str(one.router_id) if one.router_id else None,
            "hold_time": one.hold_time,
            "capabilities": list(one.capabilities),
            "families": [family.name.lower() for family in one.families],
            "graceful_restart": one.graceful_restart,
            "end_of_rib": one.end_of_rib,
            "received": one.received,
            "refused": one.refused,
            "stale": one.stale,
            "sent": one.sent,
            "password": one.password,
            "dynamic": one.dynamic,
            "configured": self._configured(one.address),
        }

    def _configured(self, address: model.Address) -> Json | None:
        """What was asked for; None for one from a range."""
        one = self._operations.neighbors.get(address)
        if one is None:
            return None
        return {
            "port": one.port,
            "passive": one.passive,
            "local_address": str(one.local_address) if one.local_address else None,
            "bind_interface": one.bind_interface or None,
            "hold_time": one.hold_time,
            "keepalive": one.keepalive,
            "ttl_security": one.ttl_security,
            "multihop": one.multihop,
            "allow_own_as": one.allow_own_as,
            "max_prefixes": one.max_prefixes,
            "families": sorted(family.name.lower() for family in one.families),
            "add_path": one.add_path,
            "graceful_restart": one.graceful_restart,
            "recursive": one.recursive,
            "import": None if one.import_rules is None else list(map(str, one.import_rules)),
        }


def _originator(paths: tuple[model.Path, ...]) -> str | None:
    """Who put a prefix into the AS, by its BGP identifier: a hint, which may not be an address."""
    number = paths[0].originator_id if paths else None
    return None if number is None else str(ipaddress.IPv4Address(number))


def _when(stamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp))
