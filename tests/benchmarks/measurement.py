"""What a benchmark says: figures, each with its raw limit and its target, and whether it met it. Does no I/O.

Filled by the jobs, shown by `report`. The targets themselves stand in the jobs, beside what they judge.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Bound(StrEnum):
    """How a target reads."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    bound: Bound
    limit: float
    stretch: float | None = None
    """What we would be proud of."""
    times_raw: bool = False
    """`limit` and `stretch` are multiples of the raw figure of the same run, not absolute."""


class Verdict(StrEnum):
    STRETCH = "stretch"
    MET = "met"
    MISSED = "missed"
    NONE = "no target"


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """The limit that the same hops have without product logic, measured in the same run, in the figure's unit."""

    value: float
    what: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    value: float
    unit: str
    raw: Raw | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Product ÷ raw."""
        return None if self.raw is None or not self.raw.value else self.value / self.raw.value

    @property
    def verdict(self) -> Verdict:
        target = self.target
        if target is None:
            return Verdict.NONE
        judged = self.ratio if target.times_raw else self.value
        if judged is None:
            return Verdict.NONE
        if target.stretch is not None and _holds(judged, target.bound, target.stretch):
            return Verdict.STRETCH
        return Verdict.MET if _holds(judged, target.bound, target.limit) else Verdict.MISSED


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one job found."""

    job: str
    figures: tuple[Figure, ...]
    details: dict[str, float | str] = {}
    """Numbers that explain the figures, for the JSON file."""


def _holds(judged: float, bound: Bound, limit: float) -> bool:
    return judged >= limit if bound is Bound.AT_LEAST else judged <= limit


class Spread(NamedTuple):
    """Quantiles of a sample, in its unit."""

    p50: float
    p99: float
    highest: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> "Spread":
        """Raises ValueError for an empty sample."""
        if not sample:
            raise ValueError("an empty sample has no quantiles")
        ordered = sorted(sample)
        return cls(_quantile(ordered, 0.5), _quantile(ordered, 0.99), ordered[-1])


def median(sample: Sequence[float]) -> float:
    """Raises ValueError for an empty sample."""
    return Spread.of(sample).p50


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: a value that was really measured."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
