"""`lab/enter HOST [COMMAND…]` and `lab/down`, for hosts kept by `make demo KEEP=1`."""

from __future__ import annotations

import os
import shlex
import sys

from lab import namespace, process
from lab.demo import consoles, kept


def enter(host: str, words: list[str]) -> int:
    """Run a command on a kept host, or a shell if there is none; returns the exit status."""
    state = kept.read()
    if state is None:
        sys.exit("No hosts are up. `make demo KEEP=1` makes two.")
    if host not in state.hosts:
        sys.exit(f"There is no {host}; there are {', '.join(state.hosts)}.")
    # One word may be a whole shell line, several are a command with its arguments.
    line = words[0] if len(words) == 1 else shlex.join(words)
    argv = ["-c", line] if words else ["-i"]
    if not state.consoles:
        command = [*state.hosts[host], *argv]
        os.execvpe(command[0], command, process.environment())
    return consoles.use(state.consoles, host, argv)


def main() -> None:
    """`python -m lab.demo.enter HOST [COMMAND…]`, or `--down`."""
    match sys.argv[1:]:
        case ["--down"]:
            try:
                found = kept.end()
            except namespace.LabError as error:
                sys.exit(str(error))
            print("All down." if found else "No hosts were up.")
        case [host, *words]:
            sys.exit(enter(host, words))
        case _:
            sys.exit("usage: lab/enter host-a|host-b [COMMAND…]")


if __name__ == "__main__":
    main()
