"""Sizes as people write them."""

import pytest

from quarterdeck.cli.sizes import parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096),
        ("10b", 10),
        ("64KiB", 65_536),
        ("64k", 65_536),
        ("10MB", 10_000_000),
        ("1.5GiB", 1_610_612_736),
        ("2 tb", 2_000_000_000_000),
    ],
)
def test_units_are_those_of_the_command_line(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1x", "ten", "1kib2", "0.0001k"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)
