"""The configuration file: TOML, GoBGP's own format with three tables of ours beside it.

[global.config], [[neighbors]], [[peer-groups]], [[dynamic-neighbors]]   as in gobgpd.conf
[ipvlan]  host-interface, mode, ipvlan-subnet, gateway, mtu, table       as the flags of that name
[docker]  socket
[policy]  accept, import, max-routes
[engine]  name, gobgp-api, gobgp-spawn, gobgp-command                   likewise (name is --engine)
"""

from __future__ import annotations

import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from bgp_ipvlan import errors
from bgp_ipvlan.config import gobgp, neighbors, schema, settings

_OWN = {
    "ipvlan.host-interface": "host_interface",
    "ipvlan.mode": "mode",
    "ipvlan.ipvlan-subnet": "ipvlan_subnet",
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
_TABLES = list[dict[str, Any]]
_FILE = schema.Schema(
    known={
        "global": dict[str, Any],
        "neighbors": _TABLES,
        "peer-groups": _TABLES,
        "dynamic-neighbors": _TABLES,
        **dict.fromkeys(_OWN, str),
        "ipvlan.mtu": int,
        "ipvlan.table": int,
        "engine.gobgp-spawn": bool,
        "policy.max-routes": int,
        "policy.accept": list[str],
        "policy.import": list[str],
    },
    impossible={"vrfs": "a neighbor in a VRF has bind-interface, a network follows its parent"},
    idle=frozenset(
        {
            "bmp-servers",
            "collector",
            "defined-sets",
            "mrt-dump",
            "policy-definitions",
            "rpki-servers",
            "zebra",
        }
    ),
)


def read(path: pathlib.Path) -> settings.Said:
    """Read a file, all of it.

    Raises:
        errors.ConfigError: `config-file` where it cannot be read; `unknown-key`,
            `unsupported-key`, `bad-value`, `bad-neighbor`, … naming file and key.
    """
    document = _parse(path)
    reader = schema.Reader(str(path))
    found = reader.read(document, _FILE)
    given = {field: found[key] for key, field in _OWN.items() if key in found}
    given |= gobgp.speaker(reader, found.get("global", {}))
    restart = given.pop("graceful_restart")
    peers = gobgp.Peers(reader, found, graceful_restart=restart)
    drafts, ranges = list(peers.drafts()), list(peers.ranges())
    warnings: list[str] = []
    times = peers.restart_times | {given[key] for key in ("restart_time",) if key in given}
    if times:
        given["restart_time"] = max(times)
    if len(times) > 1:
        text = f"there is one restart-time for all here, {max(times)}"
        warnings.append(f"{path}: {text} [ignored-key]")
    if peers.has_password:
        warnings += neighbors.readable_by_all(path, "passwords")
    spelling = {field: f"{path}: {key}" for key, field in _OWN.items()}
    spelling |= {field: f"{path}: {key}" for field, key in _GLOBAL.items()}
    return settings.Said(
        neighbors=settings.each_once(f"{path}: neighbor-address", ((d.address, d) for d in drafts)),
        ranges=settings.each_once(f"{path}: prefix", ((d.prefix, d) for d in ranges)),
        warnings=(*warnings, *reader.warnings),
        **settings.plain(given, spelling),
    )


def _parse(path: pathlib.Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise errors.ConfigError("config-file", f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise errors.ConfigError("config-file", f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        text = str(error).replace("\n", " ")
        raise errors.ConfigError("config-file", f"{path} is not TOML: {text}") from None
    lowered: dict[str, Any] = _lower(document)
    return lowered


def _lower(value: Any) -> Any:
    """Keys in lower case, as GoBGP takes them."""
    if isinstance(value, Mapping):
        return {key.lower(): _lower(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_lower(one) for one in value]
    return value
