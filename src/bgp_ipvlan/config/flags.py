"""The command line and the environment, and where everything comes together: `load`.

A flag goes before the environment (the command line sees to that), which goes before the file,
which goes before the default.
"""

from __future__ import annotations

import dataclasses
import pathlib

from bgp_ipvlan.config import file, neighbors
from bgp_ipvlan.config import said as said_
from bgp_ipvlan.config import settings as settings_

CONFIG_FILE = pathlib.Path("/etc/bgp-ipvlan/config.toml")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """As given, not checked; None and () where nothing was said."""

    config_file: pathlib.Path | None = None
    local_as: int | None = None
    router_id: str | None = None
    neighbors: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    listen_addresses: tuple[str, ...] = ()
    listen_port: int | None = None
    maximum_paths: int | None = None
    restart_time: int | None = None
    import_rules: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    host_interface: str | None = None
    mode: str | None = None
    ipvlan_subnets: tuple[str, ...] = ()
    gateway: str | None = None
    mtu: int | None = None
    table: int | None = None
    max_routes: int | None = None
    plugin_socket: pathlib.Path | None = None
    control_socket: pathlib.Path = settings_.CONTROL_SOCKET
    state_dir: pathlib.Path = settings_.STATE_DIR
    debug: bool = False
    engine: str | None = None
    gobgp_api: str | None = None
    gobgp_spawn: bool | None = None
    gobgp_command: str | None = None


_SPELLING = {
    "local_as": "--as",
    "router_id": "--router-id",
    "listen_addresses": "--listen",
    "listen_port": "--listen-port",
    "maximum_paths": "--maximum-paths",
    "restart_time": "--restart-time",
    "import_rules": "--import",
    "accept": "--accept",
    "host_interface": "--host-interface",
    "mode": "--mode",
    "ipvlan_subnets": "--ipvlan-subnet",
    "gateway": "--gateway",
    "mtu": "--mtu",
    "table": "--table",
    "max_routes": "--max-routes",
    "plugin_socket": "--socket",
    "debug": "--debug",
    "engine": "--engine",
    "gobgp_api": "--gobgp-api",
    "gobgp_spawn": "--gobgp-spawn",
    "gobgp_command": "--gobgp-command",
}


def load(flags: Flags, *, default_file: pathlib.Path = CONFIG_FILE) -> settings_.Settings:
    """Check the flags, read the files they name, and put all together.

    Called again for a reload: files of passwords are read again too.

    Args:
        flags: of `bgp-ipvlan run`.
        default_file: read when no other is named, if it is there.

    Raises:
        errors.ConfigError: naming flag, or file and key, and the remedy.
    """
    said = _said(flags)
    path = flags.config_file or (default_file if default_file.exists() else None)
    if path is not None:
        said = said_.merge(said, file.read(path, said))
    return dataclasses.replace(
        settings_.complete(said),
        config_file=path,
        control_socket=flags.control_socket,
        state_dir=flags.state_dir,
    )


def _said(flags: Flags) -> said_.Said:
    given = {field: getattr(flags, field) for field in _SPELLING}
    # Zero counts as said, so no `if value`.
    said = {field: value for field, value in given.items() if value not in (None, ())}
    if not flags.debug:
        del said["debug"]
    drafts = [neighbors.parse(text) for text in flags.neighbors]
    ranges = [neighbors.parse_range(text) for text in flags.ranges]
    return said_.Said(
        neighbors=said_.each_once("--neighbor", ((d.address, d) for d in drafts)),
        ranges=said_.each_once("--neighbor-range", ((d.prefix, d) for d in ranges)),
        **said_.plain(said, _SPELLING),
    )
