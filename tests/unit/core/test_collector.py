"""The cycle collector leaves long-lived objects alone."""

import gc
from collections.abc import Iterator

import pytest

from quarterdeck.core.collector import YOUNG, calm_collector


@pytest.fixture
def collector_as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector_as_it_was")
def test_a_full_collection_does_not_walk_what_was_alive_before() -> None:
    alive = [[number] for number in range(1000)]
    calm_collector()
    assert gc.get_freeze_count() >= len(alive)
    assert not any(candidate is alive for candidate in gc.get_objects())


@pytest.mark.usefixtures("collector_as_it_was")
def test_garbage_cycles_are_still_found() -> None:
    calm_collector()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
    assert gc.get_threshold()[0] == YOUNG
