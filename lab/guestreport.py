"""Pytest plugin, loaded inside the guest: writes each test's reports where the machine reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

REPORTS = "reports.jsonl"
_EXCHANGE = Path("/mnt/exchange")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append one phase of one test; on disk before the next phase begins."""
    line = json.dumps(report._to_json(), default=str)  # noqa: SLF001 - as pytest-xdist does
    with (_EXCHANGE / REPORTS).open("a") as file:
        file.write(line + "\n")
        file.flush()
        # hostfs writes back late; only then does the machine see it.
        os.fsync(file.fileno())
