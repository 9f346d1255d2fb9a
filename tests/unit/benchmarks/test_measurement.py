"""The arithmetic behind the table of figures."""

import pytest

from tests.benchmarks.measurement import Bound, Figure, Raw, Spread, Target, Verdict


def figure(value: float, target: Target | None, raw: float | None = None) -> Figure:
    limit = None if raw is None else Raw(value=raw, what="bare loop")
    return Figure(what="job", value=value, unit="/s", raw=limit, target=target)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(79, Verdict.MISSED), (80, Verdict.MET), (119, Verdict.MET), (120, Verdict.STRETCH)],
)
def test_a_throughput_is_judged_as_a_share_of_its_raw_limit(value: float, verdict: Verdict) -> None:
    target = Target(bound=Bound.AT_LEAST, limit=0.08, stretch=0.12, times_raw=True)
    assert figure(value, target, raw=1000).verdict is verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(21, Verdict.MISSED), (20, Verdict.MET), (11, Verdict.STRETCH)]
)
def test_a_latency_is_judged_by_its_absolute_limit(value: float, verdict: Verdict) -> None:
    assert figure(value, Target(bound=Bound.AT_MOST, limit=20, stretch=11)).verdict is verdict


def test_a_target_in_multiples_of_raw_gives_no_verdict_without_a_raw_figure() -> None:
    target = Target(bound=Bound.AT_LEAST, limit=0.5, times_raw=True)
    assert figure(1, target).verdict is Verdict.NONE


def test_quantiles_are_values_that_were_measured() -> None:
    spread = Spread.of([float(number) for number in range(1, 201)])
    assert spread == Spread(p50=100, p99=198, highest=200)


def test_an_empty_sample_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="empty sample"):
        Spread.of([])
