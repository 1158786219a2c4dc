"""Whether a configuration file is in order, before anything runs by it."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Annotated

import typer

from bgp_ipvlan import config, errors
from bgp_ipvlan.cli import options
from bgp_ipvlan.cli.options import ENV


def check_config(
    file: Annotated[
        pathlib.Path,
        typer.Argument(envvar=ENV + "CONFIG_FILE", metavar="FILE", help="As for `run`."),
    ] = config.CONFIG_FILE,
    engine: Annotated[
        str | None,
        typer.Option(
            envvar=ENV + "ENGINE", metavar="embedded|gobgp|kernel", help="Who is to speak BGP."
        ),
    ] = None,
    gobgp_spawn: Annotated[
        bool | None,
        typer.Option(
            "--gobgp-spawn/--no-gobgp-spawn",
            envvar=ENV + "GOBGP_SPAWN",
            help="Whether that is a gobgpd that we start.",
        ),
    ] = None,
    local_as: Annotated[
        int | None,
        typer.Option("--as", envvar=ENV + "AS", metavar="NUMBER", help="Where the file has none."),
    ] = None,
    router_id: Annotated[
        str | None,
        typer.Option(envvar=ENV + "ROUTER_ID", metavar="ADDRESS", help="Likewise."),
    ] = None,
    print_gobgp: Annotated[
        bool,
        typer.Option(
            "--print-gobgp",
            help="Print the file for `gobgpd -f` that is made of it, passwords included.",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a configuration file, and say what is understood by it.

    Exit status 1 and one line, with the key and where it stands, when it is not in order. Reads
    the file and those it names; looks at nothing else, and changes nothing.
    """
    flags = config.Flags(
        config_file=file,
        engine="gobgp" if print_gobgp else engine,
        gobgp_spawn=True if print_gobgp else gobgp_spawn,
        local_as=local_as,
        router_id=router_id,
    )
    try:
        settings = config.load(flags)
    except errors.ConfigError as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "reason": error.reason, "error": str(error)}, indent=2))
        raise typer.Exit(1) from None
    if print_gobgp:
        _print_gobgp(settings)
    elif as_json:
        print(json.dumps(config.describe(settings), indent=2))
    else:
        print(*config.description(config.describe(settings)), sep="\n")
        _warn(settings)


def _print_gobgp(settings: config.Settings) -> None:
    print(config.gobgp_document(settings), end="")
    _warn(settings)
    if settings.router_id is None:
        text = "it needs a router-id: the daemon takes the host interface's first IPv4 address"
        print(f"warning: {text}; --router-id says one here", file=sys.stderr)


def _warn(settings: config.Settings) -> None:
    for text in settings.warnings:
        print(f"warning: {text}", file=sys.stderr)
