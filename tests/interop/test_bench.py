"""The bench's programs against the real daemons, small: that it runs, not how fast."""

from __future__ import annotations

import pytest

from bench import contenders, transfer
from bench.cases import latency


@pytest.mark.parametrize("name", contenders.ALL)
@pytest.mark.parametrize("settle", [True, False])
def test_transfer(name: str, settle: bool) -> None:
    """Each contender has all prefixes of all sessions, by its own tool, after they were sent."""
    done = transfer.run(name, sessions=3, routes=1000, settle=settle)
    assert done.connecting < done.first < done.learned


@pytest.mark.parametrize("name", latency.CASE.contenders)
def test_way_of_single_routes(name: str) -> None:
    """Every sample is seen on B, after A announced it."""
    found = latency.way(name, bursts=False)
    assert len(found) == latency.SAMPLES
    assert min(found) > 0
