"""Fuzzing by hand.

python -m tests.fuzz run --time 600            both targets, half the time each; see `make fuzz`
python -m tests.fuzz replay sessions FILE …    inputs one by one, with what is wrong
python -m tests.fuzz seeds | record | distil   make the fixed corpus anew
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import campaign, messages, script, seeds, sessions

TARGETS = {"messages": messages.run, "sessions": sessions.run}


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="fuzz; new inputs and crashes are kept in .fuzz/")
    run.add_argument("--time", type=int, default=600, help="seconds in all")
    run.add_argument("targets", nargs="*", metavar="TARGET", help="messages, sessions")
    replay = commands.add_parser("replay", help="run inputs of files")
    replay.add_argument("target", choices=TARGETS)
    replay.add_argument("files", nargs="+", type=Path)
    commands.add_parser("seeds", help="write the seeds")
    commands.add_parser("record", help="write what daemons in the lab send; needs root")
    commands.add_parser("distil", help="fold what was found into the fixed corpus")
    arguments = parser.parse_args()
    match arguments.command:
        case "run":
            return _run(arguments.targets or list(TARGETS), arguments.time)
        case "replay":
            for file in arguments.files:
                _replay(arguments.target, file)
        case "seeds":
            seeds.write()
        case "record":
            from tests.fuzz import record

            record.write()
        case "distil":
            for target in TARGETS:
                print(f"{target}: {campaign.distil(target, campaign.KEPT / target)} inputs")
    return 0


def _run(targets: list[str], seconds: int) -> int:
    for target in targets:
        limit = f"-max_total_time={seconds // len(targets)}"
        outcome = campaign.fuzz(target, limit, keep=campaign.KEPT / target)
        if outcome.status:
            print(f"\nfuzz: {target} failed with status {outcome.status}")
            if outcome.crash is not None:
                file = outcome.crash.relative_to(campaign.ROOT)
                print(f"fuzz: the input is saved as {file}; see it again with\n")
                print(f"    .venv/bin/python -m tests.fuzz replay {target} {file}\n")
                print(
                    f"fuzz: when it is mended, put the input into tests/fuzz/corpus/{target}-mended.txt"
                )
            return 1
    print(
        f"fuzz: no property broken; new inputs are in {campaign.KEPT.relative_to(campaign.ROOT)}/"
    )
    return 0


def _replay(target: str, file: Path) -> None:
    data = file.read_bytes()
    print(f"{file}: {data.hex()}")
    if target == "sessions":
        print(*script.decode(data).steps, sep="\n")
    TARGETS[target](data)


if __name__ == "__main__":
    sys.exit(main())
