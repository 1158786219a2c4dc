"""The file that a gobgpd of ours is started with: what the user's file and the flags came to.

GoBGP's own tables are in it as they were (`passed`). Over them goes each neighbour complete, and what
we need of every session. Neighbours are written without peer groups: one of GoBGP 3's overrules its
neighbours' AS number and graceful restart, which is not what a file says.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.config import settings as settings_
from bgp_ipvlan.config.passed import Table, address_of, prefix_of

_RETRY = 5
"""Seconds until a lost session is tried again; GoBGP's own are 30, and then 120 to 240."""
_DEFERRAL = 60
"""Seconds that a restarted gobgpd waits at most for neighbours that do not come up, before it tells
the others anything; as our own speaker. GoBGP's own are 360."""
_ACCEPT = "accept-route"
_OWN = "bgp-ipvlan-own"
"""Name of our export policy."""
_NAMES = {model.Family.IPV4: "ipv4-unicast", model.Family.IPV6: "ipv6-unicast"}


def gobgp_document(settings: settings_.Settings, *, held: bool = False) -> str:
    """The configuration file for `gobgpd -f`, as TOML. It has passwords in it: mode 0600.

    Args:
        settings: of `--engine gobgp --gobgp-spawn`, with the router id filled in.
        held: neighbours are down until they are enabled, which is when there is something to
            tell them: what they have kept of us over a restart would else go with an empty table.
    """
    import tomli_w

    made = document(settings)
    for one in made.get("neighbors", ()) if held else ():
        one["config"]["admin-down"] = True
    return tomli_w.dumps(made, multiline_strings=False)


def document(settings: settings_.Settings) -> Table:
    """The same, not yet written."""
    made: Table = copy.deepcopy(dict(settings.gobgp))
    _speaker(made.setdefault("global", {}), settings)
    known = {address_of(one): one for one in made.pop("neighbors", ())}
    ranges = {prefix_of(one): one for one in made.pop("dynamic-neighbors", ())}
    groups = {one["config"]["peer-group-name"]: one for one in made.pop("peer-groups", ())}
    made["neighbors"] = [
        _neighbor(known.get(one.address, {}), one, settings) for one in settings.neighbors
    ]
    made["peer-groups"], made["dynamic-neighbors"] = [], []
    for one in settings.dynamic:
        said = ranges.get(one.prefix, {"config": {}})["config"].get("peer-group")
        group = _peer(copy.deepcopy(groups.get(said, {})), one.template, settings)
        # A group each, so that a range can be taken back while gobgpd runs.
        name = group["config"]["peer-group-name"] = group_name(one.prefix)
        made["peer-groups"].append(group)
        made["dynamic-neighbors"].append(
            {"config": {"prefix": str(one.prefix), "peer-group": name}}
        )
    _own_alone(made)
    pruned: Table = _pruned(made)
    return pruned


def _own_alone(made: Table) -> None:
    """Tell the neighbours what is originated here and nothing else: a host is no transit (D1).

    Not where the file says itself what goes out, or makes a reflector or route server of it.
    """
    peers = (*made["neighbors"], *made["peer-groups"])
    passes = any(
        _section(one, f"{kind}.config").get(f"{kind}-client")
        for one in peers
        for kind in ("route-reflector", "route-server")
    )
    applied = _section(made, "global.apply-policy.config")
    default = applied.get("default-export-policy", _ACCEPT)
    # To accept all is GoBGP's own default, and many a file says it without meaning a transit.
    if passes or applied.get("export-policy-list") or default != _ACCEPT:
        return
    applied["export-policy-list"] = [_OWN]
    applied["default-export-policy"] = "reject-route"
    statement = {
        "name": _OWN,
        "conditions": {"bgp-conditions": {"route-type": "local"}},
        "actions": {"route-disposition": "accept-route"},
    }
    made.setdefault("policy-definitions", []).append({"name": _OWN, "statements": [statement]})


def differs(old: settings_.Settings, new: settings_.Settings) -> bool:
    """Whether the file says something else of what gobgpd is told only when it starts.

    That is GoBGP's own tables, and its own keys of neighbours (`route-reflector`, …); what a neighbour
    is to us can change while it runs.
    """
    return document(dataclasses.replace(new, gobgp=old.gobgp)) != document(new)


def group_name(prefix: model.Prefix) -> str:
    """Of the peer group that a range has."""
    return f"bgp-ipvlan {prefix}"


def _speaker(table: Table, settings: settings_.Settings) -> None:
    several = settings.maximum_paths > 1
    _put(table, "config.as", settings.local_as)
    _put(table, "config.router-id", str(settings.router_id or ""))
    _put(table, "config.port", settings.listen_port or -1)
    _put(table, "config.local-address-list", [str(one) for one in settings.listen_addresses])
    _put(table, "use-multiple-paths.config.enabled", several)
    for kind in ("ebgp", "ibgp"):
        most = settings.maximum_paths if several else 0
        _put(table, f"use-multiple-paths.{kind}.config.maximum-paths", most)
    restart = _section(table, "graceful-restart.config")
    restart.setdefault("enabled", True)
    restart["restart-time"] = settings.restart_time


def _neighbor(table: Table, one: model.NeighborConfig, settings: settings_.Settings) -> Table:
    peer = _peer(table, one, settings)
    peer["config"]["neighbor-address"] = str(one.address)
    return peer


def _peer(table: Table, one: model.NeighborConfig, settings: settings_.Settings) -> Table:
    """What a neighbour and the group of a range have in common."""
    for path, value in _fields(one):
        _put(table, path, value)
    timers = _section(table, "timers.config")
    timers["hold-time"], timers["keepalive-interval"] = one.hold_time, one.keepalive
    timers.setdefault("connect-retry", _RETRY)
    timers.setdefault("idle-hold-time-after-reset", _RETRY)
    table.pop("ttl-security", None)
    table.pop("ebgp-multihop", None)
    if one.ttl_security:
        hops = {"enabled": True, "ttl-min": 256 - one.multihop}
        table["ttl-security"] = {"config": hops}
    elif one.multihop > 1:
        table["ebgp-multihop"] = {"config": {"enabled": True, "multihop-ttl": one.multihop}}
    restart = _section(table, "graceful-restart.config")
    restart["enabled"] = one.graceful_restart
    if one.graceful_restart:
        restart["restart-time"] = settings.restart_time
        restart.setdefault("deferral-time", _DEFERRAL)
        # The end of gobgpd, which it tells with a Cease, is a restart too (RFC 8538).
        restart.setdefault("notification-enabled", True)
    table["afi-safis"] = _families(table.get("afi-safis", []), one)
    return table


def _fields(one: model.NeighborConfig) -> Iterator[tuple[str, Any]]:
    """Path → value; those that are GoBGP's default are nothing."""
    yield "config.peer-as", one.remote_as
    yield "config.local-as", one.local_as
    yield "config.auth-password", one.password
    yield "config.description", one.description
    yield "transport.config.passive-mode", one.passive
    yield "transport.config.remote-port", one.port if one.port != 179 else 0
    yield "transport.config.local-address", str(one.local_address or "")
    yield "transport.config.bind-interface", one.bind_interface
    yield "transport.config.ttl", 0  # as ebgp-multihop: GoBGP 4 has none
    yield "as-path-options.config.allow-own-as", one.allow_own_as
    yield "add-paths.config.receive", False  # by family


def _families(tables: list[Table], one: model.NeighborConfig) -> list[Table]:
    """Without mp-graceful-restart GoBGP's capability names no family, and nothing is kept."""
    wanted = {_NAMES[family] for family in one.families}
    # GoBGP takes one that is listed for one that is on, whatever it is told.
    tables = [t for t in tables if t.get("config", {}).get("enabled", True)]
    said = [table for table in tables if _name(table) in wanted]
    limits = [table.get("prefix-limit") for table in said]
    differ = any(limit != limits[0] for limit in limits)
    missing = sorted(wanted - {_name(table) for table in said})
    added: list[Table] = [{"config": {"afi-safi-name": name}} for name in missing]
    for table in (*said, *added):
        _family(table, one, keep_limit=differ)
    return [*tables, *added]


def _family(table: Table, one: model.NeighborConfig, *, keep_limit: bool) -> None:
    restart = _section(table, "mp-graceful-restart.config")
    restart["enabled"] = one.graceful_restart
    _section(table, "add-paths.config")["receive"] = one.add_path
    if keep_limit:
        return
    table.pop("prefix-limit", None)
    if one.max_prefixes:
        table["prefix-limit"] = {
            "config": {
                "max-prefixes": one.max_prefixes,
                "shutdown-threshold-pct": one.max_prefixes_warn,
                "restart-timer": one.max_prefixes_restart,
            }
        }


def _pruned(value: Any) -> Any:
    """Without tables and lists that nothing is in."""
    if isinstance(value, list):
        return [_pruned(one) for one in value]
    if not isinstance(value, dict):
        return value
    inside = {key: _pruned(one) for key, one in value.items()}
    return {key: one for key, one in inside.items() if one not in ([], {})}


def _name(table: Mapping[str, Any]) -> str:
    return str(table.get("config", {}).get("afi-safi-name", ""))


def _section(table: Table, path: str) -> Table:
    for key in path.split("."):
        table = table.setdefault(key, {})
    return table


def _put(table: Table, path: str, value: object) -> None:
    """Set a key, or take it out where there is nothing to say."""
    above, _, key = path.rpartition(".")
    if value:
        _section(table, above)[key] = value
    else:
        _section(table, above).pop(key, None)
