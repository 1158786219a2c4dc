"""One snapshot of everything, as plain JSON values: for the command line, pages and metrics.

Reads what others hold and changes nothing. The keys are an interface: people's scripts
read `--json`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import bgp_ipvlan
from bgp_ipvlan import config, model, ports, reconcile
from bgp_ipvlan import state as state_

Json = dict[str, Any]


class Status:
    """See the module.

    Args:
        settings: the configuration.
        state: networks and endpoints.
        reconciler: routes, refusals, counters.
        engine: the neighbours.
    """

    def __init__(
        self,
        settings: config.Settings,
        state: state_.State,
        *,
        reconciler: reconcile.Reconciler,
        engine: ports.Engine,
    ) -> None:
        self._settings = settings
        self._state = state
        self._reconciler = reconciler
        self._engine = engine
        self._started = time.time()

    def summary(self) -> Json:
        """The whole at a glance."""
        neighbors = self._engine.neighbors()
        established = [n for n in neighbors if n.state is model.SessionState.ESTABLISHED]
        return {
            "version": bgp_ipvlan.__version__,
            "uptime_seconds": int(time.time() - self._started),
            "local_as": self._settings.local_as,
            "router_id": str(self._settings.router_id or ""),
            "synced": self._reconciler.is_synced,
            "neighbors": {"configured": len(neighbors), "established": len(established)},
            "networks": len(self._state.networks),
            "endpoints": len(self._state.endpoints),
            "routes": {
                "wanted": sum(len(b.wanted) for b in self._reconciler.books.values()),
                "refused": sum(len(r) for r in self._reconciler.refused.values()),
            },
            "counters": {
                "audits": self._reconciler.counters.audits,
                "repaired": self._reconciler.counters.repaired,
                "failed": self._reconciler.counters.failed,
                "overflows": self._reconciler.counters.overflows,
            },
            "warnings": list(self._warnings()),
        }

    def _warnings(self) -> Iterator[str]:
        """What a person should look at, each with its reason code."""
        for network in self._state.networks.values():
            own = self._reconciler.own.get(network.id)
            for prefix, reason in own.notes.items() if own else ():
                if reason not in {"internal", "advertise-none"}:
                    yield f"network {network.short}: {prefix} is not announced [{reason}]"
        for endpoint in self._state.endpoints.values():
            published = [p for p in endpoint.ports if p.host_port]
            if published:
                ports_ = ", ".join(f"{p.host_port}:{p.port}" for p in published)
                yield (
                    f"endpoint {endpoint.short}: -p {ports_} has no effect, the container's own "
                    f"address is reachable [ports-ignored]"
                )
        for family, refused in self._reconciler.refused.items():
            for key in [k for k, reason in refused.items() if reason == "duplicate-prefix"]:
                where = ", ".join(str(p.next_hop) for p in self._engine.best(family, key))
                yield (
                    f"{model.prefix(family, key)} is announced by this host and by {where} "
                    f"[duplicate-prefix]"
                )

    def networks(self) -> list[Json]:
        """Each network with what is announced for it."""
        return [self._network(network) for network in self._state.networks.values()]

    def _network(self, network: model.Network) -> Json:
        own = self._reconciler.own.get(network.id)
        subnets = []
        for subnet in network.subnets:
            announcement = own.announcements.get(subnet.prefix) if own else None
            subnets.append(
                {
                    "prefix": str(subnet.prefix),
                    "gateway": str(subnet.gateway) if subnet.gateway else None,
                    "announced": announcement is not None,
                    "next_hop": str(announcement.next_hop) if announcement else None,
                    "reason": own.notes.get(subnet.prefix) if own else None,
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
            limit: at most so many of each kind; `total` tells how many there are.
        """
        names = self._reconciler.around.names
        routes, refused, total = [], [], 0
        for family, book in self._reconciler.books.items():
            total += len(book.wanted)
            for key, value in itertools.islice(book.wanted.items(), limit):
                pending = book.actual.get(key) != value
                routes.append(self._route(family, key, value, names) | {"pending": pending})
            for key, reason in itertools.islice(self._reconciler.refused[family].items(), limit):
                paths = self._engine.best(family, key)
                refused.append(
                    {
                        "prefix": str(model.prefix(family, key)),
                        "next_hops": [str(path.next_hop) for path in paths],
                        "neighbor": str(paths[0].neighbor) if paths else None,
                        "reason": reason,
                    }
                )
        return {"routes": routes, "refused": refused, "total": total}

    def _route(
        self,
        family: model.Family,
        key: model.Nlri,
        value: model.RouteValue,
        names: dict[int, str],
    ) -> Json:
        out: Json = {"prefix": str(model.prefix(family, key))}
        match value:
            case model.Via(next_hops):
                hops = [
                    {"gateway": str(h.gateway), "interface": names.get(h.ifindex, "")}
                    for h in next_hops
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

    def neighbors(self) -> list[Json]:
        """The configured neighbours."""
        return [
            {
                "address": str(n.address),
                "remote_as": n.remote_as,
                "state": n.state,
                "since": n.since,
                "router_id": str(n.router_id) if n.router_id else None,
                "hold_time": n.hold_time,
                "received": n.received,
                "sent": n.sent,
                "end_of_rib": n.end_of_rib,
                "graceful_restart": n.graceful_restart,
                "stale": n.stale,
                "last_error": n.last_error,
                "description": n.description,
            }
            for n in self._engine.neighbors()
        ]
