"""Rounds of all contenders, interleaved, so that what the machine does meanwhile hits all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from bench import measure
from lab import namespace

Step = tuple[measure.Result, int, str]
"""Case, round (from 1), contender: what runs next."""


def run(
    results: Sequence[measure.Result],
    *,
    rounds: int,
    contenders: Sequence[str],
    patience: float = math.inf,
) -> Iterator[Step]:
    """Measure; yields before each step what it will be, and fills `results`.

    Args:
        results: empty ones, of the cases to run.
        rounds: of each case.
        contenders: who takes part, where the case knows them.
        patience: seconds. Who has used up so many in a case does no further round of it. Never
            ours: a contender a hundred times slower must not keep everybody waiting.

    A contender that fails is noted and left out from then on; the others go on.
    """
    for result in results:
        spent = dict.fromkeys(result.case.contenders, 0.0)
        for number in range(1, rounds + 1):
            for contender in result.case.contenders:
                slow = contender != measure.OURS and spent[contender] >= patience
                if contender not in contenders or contender in result.failures or slow:
                    continue
                yield result, number, contender
                start = time.monotonic()
                try:
                    result.add(contender, result.case.once(contender))
                except namespace.LabError as error:
                    result.failures[contender] = str(error)
                spent[contender] += time.monotonic() - start


def steps(results: Sequence[measure.Result], *, rounds: int, contenders: Sequence[str]) -> int:
    """How many steps `run` takes at most."""
    taking_part = [set(result.case.contenders) & set(contenders) for result in results]
    return rounds * sum(map(len, taking_part))
