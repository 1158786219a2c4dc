"""The configuration file: TOML, GoBGP's own format with four tables of ours beside it.

[global.config], [[neighbors]], [[peer-groups]], [[dynamic-neighbors]]   as in gobgpd.conf
[ipvlan]  host-interface, mode, ipvlan-subnet, gateway, mtu, table       as the flags of that name
[docker]  socket
[policy]  accept, import, max-routes
[engine]  name, gobgp-api, gobgp-spawn, gobgp-command                   likewise (name is --engine)
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.config import gobgp, neighbors, passed, schema, values, vocabulary
from bgp_ipvlan.config import said as said_
from bgp_ipvlan.config import source as source_

_OWN = {
    "ipvlan.host-interface": "host_interface",
    "ipvlan.mode": "mode",
    "ipvlan.ipvlan-subnet": "ipvlan_subnets",
    "ipvlan.gateway": "gateway",
    "ipvlan.mtu": "mtu",
    "ipvlan.table": "table",
    "docker.socket": "plugin_socket",
    "policy.accept": "accept",
    "policy.import": "import_rules",
    "policy.max-routes": "max_routes",
    "engine.name": "engine",
    "engine.gobgp-api": "gobgp_api",
    "engine.gobgp-spawn": "gobgp_spawn",
    "engine.gobgp-command": "gobgp_command",
}
_GLOBAL = {
    "local_as": "global.config.as",
    "router_id": "global.config.router-id",
    "listen_addresses": "global.config.local-address-list",
    "listen_port": "global.config.port",
    "restart_time": "graceful-restart.config.restart-time",
    "maximum_paths": "global.use-multiple-paths.ebgp.config.maximum-paths",
}
_KEYS = {field: key for key, field in _OWN.items()} | _GLOBAL
_TABLES = list[dict[str, Any]]
_FILE = schema.Schema(
    known={
        "global": dict[str, Any],
        "neighbors": _TABLES,
        "peer-groups": _TABLES,
        "dynamic-neighbors": _TABLES,
        **dict.fromkeys(_OWN, str),
        "ipvlan.ipvlan-subnet": str | list[str],
        "ipvlan.mtu": int,
        "ipvlan.table": int,
        "engine.gobgp-spawn": bool,
        "policy.max-routes": int,
        "policy.accept": list[str],
        "policy.import": list[str],
    },
    impossible={"vrfs": "a neighbor in a VRF has bind-interface, a network follows its parent"},
)


def read(path: pathlib.Path, before: said_.Said) -> said_.Said:
    """Read a file, all of it.

    Args:
        path: of the file.
        before: what flags and environment say; who speaks BGP may be among it.

    Raises:
        errors.ConfigError: `config-file` where it cannot be read; `unknown-key`,
            `unsupported-key`, `neighbors-elsewhere`, `bad-value`, … naming file, line and key.
    """
    source = source_.read(path)
    source.check()
    reader = schema.Reader(source, schema.Engine.EMBEDDED)
    given = _own(reader, source.document, before)
    reader.engine = _engine(given, before)
    found = reader.read(source.document, _FILE)
    given |= gobgp.speaker(reader, found.get("global", {}))
    restart = given.pop("graceful_restart")
    if reader.engine is schema.Engine.KERNEL:
        found = _without_neighbors(reader, found)
    peers = gobgp.Peers(reader, found, graceful_restart=restart)
    drafts, ranges = tuple(peers.drafts()), tuple(peers.ranges())
    warnings: list[str] = []
    times = peers.restart_times | {given[key] for key in ("restart_time",) if key in given}
    if times:
        given["restart_time"] = max(times)
    if len(times) > 1:
        text = f"there is one restart-time for all here, {max(times)}"
        warnings.append(f"{path}: {text} [ignored-key]")
    if peers.has_password:
        warnings += neighbors.readable_by_all(path, "passwords")
    if reader.engine is schema.Engine.SPAWNED:
        given["gobgp"] = passed.passed(source)
    spelling = {field: source.place(key) for field, key in _KEYS.items() if field in given}
    return said_.Said(
        neighbors=drafts,
        ranges=ranges,
        warnings=(*warnings, *reader.warnings),
        **said_.plain(given, spelling),
    )


def _own(reader: schema.Reader, document: Mapping[str, Any], before: said_.Said) -> dict[str, Any]:
    """Our tables, as fields of `Said`. A flag that says which gobgpd goes before all keys that do."""
    ours = {name: table for name, table in document.items() if name in vocabulary.OURS}
    found = reader.read(ours, _FILE)
    given = {field: found[key] for key, field in _OWN.items() if key in found}
    if "engine" in given:
        given["engine"] = values.engine(reader.source.place("engine.name"), given["engine"])
    if before.gobgp_spawn:
        given.pop("gobgp_api", None)
    if before.gobgp_api is not None:
        given.pop("gobgp_spawn", None)
    return given


def _engine(given: Mapping[str, Any], before: said_.Said) -> schema.Engine:
    kind = before.engine or given.get("engine", model.EngineKind.EMBEDDED)
    spawn = given.get("gobgp_spawn") if before.gobgp_spawn is None else before.gobgp_spawn
    if kind is model.EngineKind.GOBGP:
        return schema.Engine.SPAWNED if spawn else schema.Engine.ATTACHED
    return schema.Engine[kind.name]


def _without_neighbors(reader: schema.Reader, found: schema.Values) -> schema.Values:
    """With a routing daemon beside us, neighbours are its own."""
    for table in ("neighbors", "dynamic-neighbors"):
        if found.get(table):
            raise reader.wrong(
                "neighbors-elsewhere",
                f"{table}[0]",
                "is not for --engine kernel: name it in the routing daemon's configuration, or "
                "choose another engine",
            )
    return {key: value for key, value in found.items() if key != "peer-groups"}
