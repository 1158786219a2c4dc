"""Marks by folder, and what happens where the machine lacks something.

A missing privilege or tool is a skip that the summary tells aloud, and a
failure where CI=true. It never passes silently.
"""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from lab import require, uml

hypothesis.settings.register_profile("soak", max_examples=5000, deadline=None)

HERE = Path(__file__).parent
_missing = pytest.StashKey[dict[str, tuple[str, ...]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is known to be missing yet."""
    config.stash[_missing] = {}


def pytest_report_header() -> str:
    """Say where the tests in tests/ipvlan run."""
    if uml.inside():
        return "ipvlan: this is the User-mode Linux guest"
    if require.needs_guest():
        return "ipvlan: not in this kernel, so tests/ipvlan runs in User-mode Linux guests"
    return "ipvlan: in this kernel"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test by its folder and skip it where something is missing."""
    _leave_out(config, items)
    missing = config.stash[_missing]
    for item in items:
        kind = _kind(item)
        if kind not in require.TOOLS:
            continue
        item.add_marker(kind)
        if kind not in missing:
            missing[kind] = require.missing(kind)
        if missing[kind] and not require.in_ci():
            item.add_marker(pytest.mark.skip(reason="not here: " + ", ".join(missing[kind])))


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `soak` runs in `make soak` only, or when it is asked for by name."""
    soak = config.getoption("hypothesis_profile", None) == "soak"
    if soak or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In CI a test whose needs are not met fails."""
    missing = item.config.stash[_missing].get(_kind(item))
    if missing and require.in_ci():
        pytest.fail("not here: " + ", ".join(missing), pytrace=False)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was not run, and what would help."""
    gaps = {kind: reasons for kind, reasons in config.stash[_missing].items() if reasons}
    if gaps:
        terminalreporter.section("NOT RUN" if not require.in_ci() else "MISSING", red=True)
        for kind, reasons in gaps.items():
            terminalreporter.line(f"tests/{kind} needs {', '.join(reasons)}", red=True)
        terminalreporter.line("`make setup` as root, or with sudo, installs the tools.", red=True)


def _kind(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
