"""Tests here need a kernel with ipvlan: this one, or else User-mode Linux guests.

Inside a guest, and on a machine whose kernel has ipvlan, they run as they are.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import guestpytest, require, uml

HERE = Path(__file__).parent
_session = pytest.StashKey[guestpytest.Session]()


def pytest_runtest_protocol(item: pytest.Item) -> object:
    """Take the test's result from a guest instead of running it here."""
    # Pytest asks this hook for every test of the session, not only for this folder's.
    if not item.path.is_relative_to(HERE):
        return None
    if uml.inside() or require.missing("ipvlan") or not require.needs_guest():
        return None
    session = item.config.stash.get(_session, None)
    if session is None:
        mine = [one for one in item.session.items if one.path.is_relative_to(HERE)]
        session = item.config.stash[_session] = guestpytest.Session(mine)
        item.config.add_cleanup(session.close)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in session.results(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
