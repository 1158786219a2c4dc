"""What the documentation promises of the code."""

from __future__ import annotations

import pathlib
import re

import pytest

from bgp_ipvlan.config import neighbors

ROOT = pathlib.Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()


REASON = re.compile(
    r"errors\.[A-Z]\w+\(\s*\"([a-z0-9-]+)\""  # raised
    r"|(?:\"|\S )reason=([a-z0-9-]+)"  # logged
    r"|\[([a-z][a-z0-9-]+)\]\""  # the end of a warning
)


def reasons() -> list[str]:
    """Every reason code that a person may see."""
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    return sorted({next(filter(None, c)) for text in sources for c in REASON.findall(text)})


@pytest.mark.parametrize("reason", reasons())
def test_every_reason_code(reason: str) -> None:
    """It is in docs/operations.md, with what to do."""
    assert f"`{reason}`" in OPERATIONS


@pytest.mark.parametrize("key", neighbors.KEYS)
def test_every_key_of_a_neighbor(key: str) -> None:
    """It is in docs/operations.md; what is on by default with its `no-`, the rest without."""
    plain = key.removeprefix("no-")
    assert re.search(rf"`(no-)?{plain}(=|\[|`)", OPERATIONS)
