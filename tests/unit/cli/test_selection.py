"""Which machines a run goes to."""

import msgspec
import pytest

from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.selection import limit, parse_selectors, select, split_targets
from quarterdeck.contracts.errors import InvalidTarget


class _Agent(msgspec.Struct):
    agent_id: str
    labels: dict[str, str]


FLEET = [
    _Agent("b", {"role": "web", "zone": "1"}),
    _Agent("a", {"role": "web", "zone": "2"}),
    _Agent("c", {"role": "db", "zone": "1"}),
]


def test_targets_come_in_lists_and_repeated_flags_each_once() -> None:
    """`-t a,b -t b,host/guest`."""
    assert split_targets(["a, b", "b,host/guest"]) == ["a", "b", "host/guest"]


@pytest.mark.parametrize("target", ["a*", "a.b", "a/b/c", "a\r\nb", "{x}", "/g"])
def test_target_outside_the_pattern_is_refused_before_anything_is_sent(target: str) -> None:
    """The same pattern as the server's."""
    with pytest.raises(InvalidTarget):
        split_targets([target])


def test_selectors_must_all_match() -> None:
    """`-l role=web -l zone=1`."""
    assert select(FLEET, parse_selectors(["role=web"])) == ["a", "b"]
    assert select(FLEET, parse_selectors(["role=web", "zone=1"])) == ["b"]
    assert select(FLEET, {}) == ["a", "b", "c"]


def test_selector_without_a_value_sign_is_refused() -> None:
    """`-l web` would otherwise select nothing, silently."""
    with pytest.raises(UsageError, match="label=value"):
        parse_selectors(["web"])


@pytest.mark.parametrize(
    ("wanted", "count"), [(None, 7), ("3", 3), ("100", 7), ("10%", 1), ("50%", 4), ("100%", 7)]
)
def test_limit_takes_a_number_or_a_percentage_rounded_up(wanted: str | None, count: int) -> None:
    """And always the same machines."""
    targets = [f"m{i}" for i in range(7)]

    assert limit(targets, wanted) == targets[:count]


@pytest.mark.parametrize("wanted", ["0", "0%", "101%", "half", "-1", "%"])
def test_limit_that_means_nothing_is_refused(wanted: str) -> None:
    """A typing error must not become the whole fleet."""
    with pytest.raises(UsageError):
        limit(["a"], wanted)
