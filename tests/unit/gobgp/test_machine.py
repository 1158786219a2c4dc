"""The whole engine beside a gobgpd that behaves: random lives, faults and races.

At rest what is used follows from gobgpd's table, was told so, and gobgpd has what is wanted, once.
"""

from __future__ import annotations

import hypothesis
import pytest

from tests.unit.gobgp import machine

TestMachine = pytest.mark.timeout(3600)(machine.Machine.TestCase)
# Three times as many examples as the profile says: quick ones, and some races are rare.
TestMachine.settings = hypothesis.settings(
    max_examples=3 * hypothesis.settings().max_examples,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
