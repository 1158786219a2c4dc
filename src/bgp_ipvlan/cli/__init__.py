"""The command line. No logic: flags in, a call, its answer shown.

run.py       the daemon itself, and its end     look.py   what is going on
neighbor.py  neighbours while it runs           care.py   reload, drain, forget, cleanup
check.py     a configuration file, beforehand
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

import bgp_ipvlan
from bgp_ipvlan import errors
from bgp_ipvlan.cli import care, check, look, neighbor, run

app = typer.Typer(
    name="bgp-ipvlan",
    help="Routable addresses for Docker containers: ipvlan links, told to the network by BGP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(run.run, run.stop, check.check_config, care.reload),
    *(look.status, look.networks, look.routes, look.neighbors),
    *(care.drain, care.undrain, care.forget, care.cleanup),
)
for command in _COMMANDS:
    app.command()(command)
app.add_typer(neighbor.app)


def main() -> NoReturn:
    """Entry point of the `bgp-ipvlan` command."""
    try:
        app(standalone_mode=True)
    except errors.Error as error:
        print(f"bgp-ipvlan: {error} [{error.reason}]", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"bgp-ipvlan {bgp_ipvlan.__version__}")
        raise typer.Exit
