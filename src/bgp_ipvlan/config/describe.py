"""What a configuration came to, in words and for scripts; without passwords."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.config import settings as settings_
from bgp_ipvlan.config import source

Json = dict[str, Any]

_SWITCHES = {
    "passive": "passive",
    "ttl_security": "ttl-security",
    "recursive": "recursive",
}


def describe(settings: settings_.Settings) -> Json:
    """All of it, for `check-config --json`."""
    attached = settings.engine is model.EngineKind.GOBGP and not settings.gobgp_spawn
    spawned = settings.engine is model.EngineKind.GOBGP and settings.gobgp_spawn
    path = settings.config_file
    return {
        "ok": True,
        "file": str(path or ""),
        "format": "gobgp-2015" if path is not None and source.read(path).legacy else "gobgp",
        "engine": str(settings.engine),
        "gobgp_spawn": spawned,
        "gobgp_api": settings.gobgp_api if attached else "",
        "gobgp_command": settings.gobgp_command if spawned else "",
        "as": settings.local_as,
        "router_id": str(settings.router_id or ""),
        "listen": [str(one) for one in settings.listen_addresses],
        "listen_port": settings.listen_port,
        "maximum_paths": settings.maximum_paths,
        "restart_time": settings.restart_time,
        "neighbors": [
            {"address": str(one.address), **_neighbor(one)} for one in settings.neighbors
        ],
        "neighbor_ranges": [
            {"prefix": str(one.prefix), "limit": one.limit, **_neighbor(one.template)}
            for one in settings.dynamic
        ],
        "networks": {
            "host_interface": settings.host_interface or "",
            "mode": str(settings.mode),
            "ipvlan_subnet": [str(one) for one in settings.ipvlan_subnets],
            "gateway": str(settings.gateway or ""),
            "mtu": settings.mtu or 0,
            "table": settings.table,
        },
        "import": None
        if settings.import_rules is None
        else [str(r) for r in settings.import_rules],
        "accept": [str(one) for one in settings.accept],
        "max_routes": settings.max_routes,
        "socket": str(settings.plugin_socket),
        "warnings": list(settings.warnings),
    }


def text(found: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a person, of what `describe` found."""
    then = ", in its format of 2015" if found["format"] == "gobgp-2015" else ""
    yield f"{found['file']} is in order{then}"
    yield _line("engine", _engine(found))
    yield _line("AS", found["as"] or "none: no neighbor needs it")
    yield _line("router id", found["router_id"] or "the host interface's first IPv4 address")
    yield _line("listen", f"{', '.join(found['listen'])} port {found['listen_port']}")
    for one in found["neighbors"]:
        yield _line("neighbor", f"{one['address']} {_about(one)}")
    for one in found["neighbor_ranges"]:
        yield _line("neighbors in", f"{one['prefix']} {_about(one)}")
    if not found["neighbors"] and not found["neighbor_ranges"]:
        yield _line("neighbors", "none")
    for key, value in found["networks"].items():
        if value:
            shown = ", ".join(value) if isinstance(value, list) else value
            yield _line(key.replace("_", "-"), shown)
    if found["import"] is not None:
        yield _line("import", ", ".join(found["import"]) or "nothing")
    if found["accept"]:
        yield _line("accept", ", ".join(found["accept"]))


def _neighbor(one: model.NeighborConfig) -> Json:
    return {
        "as": one.remote_as,
        "description": one.description,
        "families": sorted(family.name.lower() for family in one.families),
        "hold_time": one.hold_time,
        "keepalive": one.keepalive,
        "multihop": one.multihop,
        "max_prefixes": one.max_prefixes,
        "graceful_restart": one.graceful_restart,
        "password": bool(one.password),
        **{field: getattr(one, field) for field in _SWITCHES},
    }


def _engine(found: Mapping[str, Any]) -> str:
    if found["gobgp_spawn"]:
        return f"gobgp, a {found['gobgp_command']} that we start"
    if found["gobgp_api"]:
        return f"gobgp, the gobgpd that runs at {found['gobgp_api']}"
    return str(found["engine"])


def _about(one: Mapping[str, Any]) -> str:
    words = [f"AS {one['as'] or 'any'}", f"hold {one['hold_time']}"]
    words += [name for field, name in _SWITCHES.items() if one[field]]
    words += [f"multihop {one['multihop']}"] if one["multihop"] > 1 else []
    words += ["password"] if one["password"] else []
    words += [one["description"]] if one["description"] else []
    return ", ".join(words)


def _line(name: str, value: object) -> str:
    return f"  {name:<15}{value}"
