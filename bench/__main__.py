"""`make bench`: measure ours beside the others, show a table, write JSON."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.console
import rich.progress

from bench import cases, harness, machine, measure, plot, table
from lab import require


def main() -> None:
    """Read the command line and run."""
    arguments = _arguments()
    if missing := require.missing("interop"):
        sys.exit(f"bench: not here: {', '.join(missing)}")
    # 500 sessions are 500 files, in the daemons too, which inherit this.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))
    console = rich.console.Console()
    if not console.is_terminal:
        console.width = 150
    described = machine.describe()
    results = [measure.Result(cases.ALL[name]) for name in arguments.cases]
    _run(console, results, arguments)
    console.print(table.table(results, arguments.only, rounds=arguments.rounds))
    console.print(" · ".join(f"{name} {text}" for name, text in described.items()), style="dim")
    whole: dict[str, Any] = {
        "machine": described,
        "rounds": arguments.rounds,
        "results": [result.plain() for result in results],
    }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(whole, indent=2) + "\n")
    if arguments.plot is not None:
        plot.draw(whole, arguments.plot)
    failures = [(one.case.name, *item) for one in results for item in one.failures.items()]
    for name, contender, text in failures:
        console.print(f"{name}, {contender}: {text}", style="red", markup=False)
    sys.exit(1 if failures else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases.ALL)}; all if none is named"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each, at least 5 for the record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw route programming, PNG")
    parser.add_argument(
        "--only", action="append", choices=cases.CONTENDERS, help="contenders; all if none"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="a foreign daemon that has used up so many in a case does no further round of it",
    )
    arguments = parser.parse_args()
    arguments.cases = arguments.cases or list(cases.ALL)
    arguments.only = arguments.only or list(cases.CONTENDERS)
    if unknown := set(arguments.cases) - set(cases.ALL):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return arguments


def _run(
    console: rich.console.Console,
    results: Sequence[measure.Result],
    arguments: argparse.Namespace,
) -> None:
    rounds, names = arguments.rounds, arguments.only
    with rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.TimeElapsedColumn(),
        console=console,
        # Each refresh takes a core from what is measured, for a moment.
        refresh_per_second=2,
    ) as progress:
        task = progress.add_task("", total=harness.steps(results, rounds=rounds, contenders=names))
        for result, number, contender in harness.run(
            results, rounds=rounds, contenders=names, patience=arguments.patience
        ):
            text = f"{result.case.name} {number}/{rounds}: {contender}"
            progress.update(task, description=text)
            if not console.is_terminal:
                console.print(text)
            progress.advance(task)


if __name__ == "__main__":
    main()
