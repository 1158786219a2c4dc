"""The table of options: README, operations and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

from bgp_ipvlan.docker import options

ROOT = Path(__file__).parents[3]
REASON = re.compile(
    r"(?:BadRequest|Refused|ConfigError|KernelError|StateError|EngineError|_parse|_refused)\(\s*"
    r'"([a-z]+(?:-[a-z]+)+)"'
)


def test_readme_names_every_option() -> None:
    """The rows of README's table are exactly the keys that are accepted, in the same order."""
    text = (ROOT / "README.md").read_text()
    table = text.split("| option `-o` |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert rows == [option.key for option in options.OPTIONS]


def test_every_reason_has_its_remedy_written_down() -> None:
    """Each reason code raised anywhere stands in docs/operations.md."""
    raised = set()
    for path in (ROOT / "src").rglob("*.py"):
        raised.update(REASON.findall(path.read_text()))
    assert {"own-overlap", "state-corrupt", "bad-subnet", "address-in-use"} <= raised
    documented = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs/operations.md").read_text()))
    assert raised - documented == set()
