"""How the demo looks: steps, commands as typed, their output. Decides nothing."""

from __future__ import annotations

import os
import sys
import time

COLOR_VARIABLE = "BGP_IPVLAN_DEMO_COLOR"
_STARTED = time.monotonic()


def colored() -> bool:
    """Whether to colour: on a terminal, or where the one outside the guest said so."""
    told = os.environ.get(COLOR_VARIABLE)
    if told is not None:
        return told == "1"
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colored() else text


def say(text: str = "") -> None:
    """A line of plain words."""
    print(text, flush=True)


def step(number: int, total: int, title: str) -> None:
    """Begin a step."""
    seconds = time.monotonic() - _STARTED
    say()
    say(_paint("1;36", f"[{number}/{total}] {title}") + _paint("2", f"  ({seconds:.0f} s)"))


def typed(host: str, command: str) -> None:
    """A command as a user types it."""
    say(_paint("1;32", f"{host}# ") + _paint("1", command))


def output(text: str) -> None:
    """What a command printed."""
    for line in text.rstrip().splitlines():
        say("  " + line)


def note(text: str) -> None:
    """A word on what was seen."""
    say(_paint("32", "  ✓ ") + text)


def failed(text: str) -> None:
    """What went wrong."""
    say(_paint("1;31", "FAILED ") + text)
