"""What is measured, the samples, and the figures and ratios that come of them. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

OURS = "bgp-ipvlan"
"""The contender that all ratios are against."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One row of the table. Less is better in all of them."""

    title: str
    samples: str
    """Under which name a round gives the samples; several rows may be made of the same."""
    unit: str
    percentile: float = 50.0
    """Of all samples of all rounds; 50 is the median."""
    goal: float | None = None
    """What ours must stay below."""
    ratios: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By contender: how often as much as ours its figure must at least be."""


Samples = Mapping[str, Sequence[float]]
"""What one round of one contender gives."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something to measure."""

    name: str
    contenders: tuple[str, ...]
    measures: tuple[Measure, ...]
    once: Callable[[str], Samples]
    """One round of one contender, from nothing to nothing."""


@dataclasses.dataclass(slots=True)
class Result:
    """All samples of one case: by contender, then by name."""

    case: Case
    samples: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    rounds: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many each contender has done."""
    failures: dict[str, str] = dataclasses.field(default_factory=dict)
    """Contenders that did not finish a round, and why; they take part in no further one."""

    def add(self, contender: str, samples: Samples) -> None:
        """Keep what a round gave."""
        self.rounds[contender] = self.rounds.get(contender, 0) + 1
        kept = self.samples.setdefault(contender, {})
        for name, values in samples.items():
            kept.setdefault(name, []).extend(values)

    def value(self, measure: Measure, contender: str) -> float | None:
        """The figure of a row; None if there are no samples."""
        values = self.samples.get(contender, {}).get(measure.samples)
        return percentile(values, measure.percentile) if values else None

    def ratio(self, measure: Measure, contender: str) -> float | None:
        """The contender's figure over ours: above 1, ours is the better one.

        None if there are no samples, or ours is not above nought: that is no time to share in.
        """
        theirs, ours = self.value(measure, contender), self.value(measure, OURS)
        return theirs / ours if theirs is not None and ours is not None and ours > 0 else None

    def missed(self, measure: Measure) -> bool:
        """Whether ours is not below the goal, or too near to somebody else's figure."""
        ours = self.value(measure, OURS)
        if ours is None:
            return False
        if measure.goal is not None and ours >= measure.goal:
            return True
        theirs = {name: self.value(measure, name) for name in measure.ratios}
        return any(
            value is not None and value < measure.ratios[name] * ours
            for name, value in theirs.items()
        )

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        rows = [
            {
                "title": measure.title,
                "unit": measure.unit,
                "percentile": measure.percentile,
                "goal": measure.goal,
                "ratios": dict(measure.ratios),
                "contenders": {
                    contender: {
                        "rounds": self.rounds[contender],
                        "value": self.value(measure, contender),
                        "ratio": self.ratio(measure, contender),
                        "samples": self.samples[contender].get(measure.samples, []),
                    }
                    for contender in self.samples
                },
            }
            for measure in self.case.measures
        ]
        return {"case": self.case.name, "measures": rows, "failures": self.failures}


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of them lie, between two of them by proportion."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    return low + (high - low) * (at - math.floor(at))
