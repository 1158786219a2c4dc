"""Runs tests in User-mode Linux guests and hands their reports to the pytest outside.

Each test stays a test of the session outside, with its own result; only where
it runs is different. The tests are dealt to two guests, which run side by side.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from lab import guestreport, uml

GUESTS = 2
_HEAVY = {"docker": 10, "walkthrough": 4}
"""A word in a module's path → how many plain tests one of its tests weighs: containers start."""
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "lab.guestreport")


class _Batch:
    """One guest and the tests it runs."""

    def __init__(self, nodeids: Sequence[str]) -> None:
        self._read = 0
        self.reports: dict[str, list[pytest.TestReport]] = defaultdict(list)
        spec = uml.Spec(
            show=(Path(sys.prefix), Path(sys.base_prefix)),
            environment={"HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis"},
        )
        self.guest = uml.Guest([sys.executable, *_PYTEST, "@/mnt/exchange/nodeids"], spec)
        (self.guest.exchange / "nodeids").write_text("\n".join(nodeids) + "\n")
        self.guest.start()

    def read(self) -> None:
        """Take in what the guest has written since."""
        file = self.guest.exchange / guestreport.REPORTS
        if not file.exists():
            return
        with file.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                fields = json.loads(line)
                if isinstance(fields["longrepr"], list):  # why it was skipped; JSON has no tuples
                    fields["longrepr"] = tuple(fields["longrepr"])
                report = pytest.TestReport._from_json(fields)  # noqa: SLF001
                self.reports[report.nodeid].append(report)


class Session:
    """All tests of one session that need a guest. Boots when the first result is asked for."""

    def __init__(self, items: Iterable[pytest.Item]) -> None:
        self._modules: dict[str, list[str]] = defaultdict(list)
        for item in items:
            self._modules[str(item.path)].append(item.nodeid)
        self._batches: dict[str, _Batch] = {}

    def results(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait for a test's reports: setup, call, teardown.

        If the guest ends without them, the one report is a failure that shows its console.
        """
        if not self._batches:
            self._boot()
        batch = self._batches[item.nodeid]
        while True:
            alive = batch.guest.alive
            batch.read()
            found = batch.reports.get(item.nodeid, [])
            if found and found[-1].when == "teardown":
                return found
            if not alive:
                return [_lost(item, batch.guest.tail())]
            time.sleep(0.05)

    def close(self) -> None:
        """End the guests."""
        for batch in set(self._batches.values()):
            batch.guest.close()

    def _boot(self) -> None:
        for nodeids in _deal(self._modules):
            batch = _Batch(nodeids)
            self._batches.update(dict.fromkeys(nodeids, batch))


def _deal(modules: dict[str, list[str]]) -> list[list[str]]:
    """Share modules out, the heaviest first."""
    weights = {
        name: len(nodeids) * max((w for word, w in _HEAVY.items() if word in name), default=1)
        for name, nodeids in modules.items()
    }
    hands: list[list[str]] = [[] for _ in range(GUESTS)]
    loads = [0] * GUESTS
    for name in sorted(modules, key=lambda name: -weights[name]):
        lightest = loads.index(min(loads))
        hands[lightest] += modules[name]
        loads[lightest] += weights[name]
    return [hand for hand in hands if hand]


def _lost(item: pytest.Item, console: str) -> pytest.TestReport:
    message = f"The User-mode Linux guest ended before this test did. Its console:\n{console}"
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=message,
        when="call",
    )
