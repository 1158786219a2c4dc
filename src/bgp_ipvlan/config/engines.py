"""What fits to who speaks BGP: flags and keys of one engine under another."""

from __future__ import annotations

from collections.abc import Iterator

from bgp_ipvlan import errors, model
from bgp_ipvlan.config.said import Said

_LEARNING = {
    "listen_addresses": "listen",
    "listen_port": "listen-port",
    "maximum_paths": "maximum-paths",
    "restart_time": "restart-time",
    "import_rules": "import",
    "accept": "accept",
}
"""What a speaker does for us, and a routing daemon with a configuration of its own for itself."""
_GOBGP = {
    "gobgp_api": "gobgp-api",
    "gobgp_spawn": "gobgp-spawn",
    "gobgp_command": "gobgp-command",
}


def check(said: Said) -> tuple[str, ...]:
    """Refuse what cannot be meant.

    Returns:
        Warnings, for what was said and does nothing.

    Raises:
        errors.ConfigError: `bad-value`, `unsupported-key`, `neighbors-elsewhere`, `no-as`.
    """
    if said.engine is None and (
        given := [name for field, name in _GOBGP.items() if getattr(said, field)]
    ):
        raise errors.ConfigError(
            "bad-value", f"{given[0]} without an engine: say --engine gobgp, or leave it out"
        )
    if said.engine is model.EngineKind.KERNEL and (said.neighbors or said.ranges):
        first = said.neighbors[0].where if said.neighbors else said.ranges[0].draft.where
        raise errors.ConfigError(
            "neighbors-elsewhere",
            f"{first}: with --engine kernel the neighbors are the routing daemon's: name them in "
            f"its configuration, or choose another engine",
        )
    if said.engine is model.EngineKind.GOBGP:
        _gobgp(said)
    return tuple(f"{text} [ignored-key]" for text in _idle(said))


def _gobgp(said: Said) -> None:
    for one in (*said.neighbors, *(each.draft for each in said.ranges)):
        if one.given.get("hold_time") == 0:
            text = "gobgpd takes it for its default of 90 s, so say how long"
            raise errors.ConfigError("unsupported-key", f"{one.at('hold_time')} 0: {text}")
    if said.gobgp_spawn and said.gobgp_api is not None:
        raise errors.ConfigError(
            "bad-value",
            f"gobgp-api {said.gobgp_api} is for a gobgpd that runs, gobgp-spawn starts one with "
            f"a socket of its own: leave one of them out",
        )
    if said.gobgp_spawn and said.local_as is None:
        raise errors.ConfigError(
            "no-as",
            "gobgpd needs this host's own AS number: --as, for example --as 64512, or as in the "
            "file's [global.config]",
        )


def _idle(said: Said) -> Iterator[str]:
    if said.engine is model.EngineKind.KERNEL:
        for field, name in _LEARNING.items():
            if getattr(said, field) is not None:
                yield f"{name} does nothing with --engine kernel: it is for the routing daemon"
    if said.engine is not model.EngineKind.GOBGP:
        for field, name in _GOBGP.items():
            if getattr(said, field):
                yield f"{name} does nothing with --engine {said.engine}"
        return
    if said.gobgp_command is not None and not said.gobgp_spawn:
        yield "gobgp-command does nothing without gobgp-spawn"
    for one in said.ranges:
        if one.limit is not None:
            yield f"{one.draft.where}: limit {one.limit} does nothing with --engine gobgp"
