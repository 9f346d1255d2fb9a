import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.machines.virtio_serial.lines import LineReader, LineTooLong

LIMIT = 16


def _lines(reader: LineReader) -> list[bytes | None]:
    """All that are there; None for one that was too long."""
    found: list[bytes | None] = []
    while True:
        try:
            line = reader.next_line()
        except LineTooLong:
            found.append(None)
        else:
            if line is None:
                return found
            found.append(line)


def test_lines_come_whole_however_they_were_cut() -> None:
    """S2-21F"""
    reader = LineReader(LIMIT)
    for piece in (b'{"a"', b":1}\n\n  \n[", b"2]\n", b"3\n4\n5"):
        reader.feed(piece)

    assert _lines(reader) == [b'{"a":1}', b"[2]", b"3", b"4"]


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_is_whole() -> None:
    """S2-25F"""
    reader = LineReader(LIMIT)
    reader.feed(b"before\n" + b"x" * 100)
    reader.feed(b"y" * 100 + b"\nafter\n")

    assert _lines(reader) == [b"before", None, b"after"]


def test_what_never_ends_is_told_once_and_holds_no_memory() -> None:
    """S2-25F"""
    reader = LineReader(LIMIT)
    for _ in range(1_000):
        reader.feed(b"z" * 1_000)

    assert _lines(reader) == [None]
    assert not reader._begun


@pytest.mark.parametrize("length", [LIMIT - 1, LIMIT])
def test_a_line_may_be_as_long_as_the_limit(length: int) -> None:
    reader = LineReader(LIMIT)
    reader.feed(b"x" * length + b"\n")

    assert _lines(reader) == [b"x" * length]


@given(st.lists(st.binary(max_size=3 * LIMIT).map(lambda line: line.replace(b"\n", b""))), st.data())
def test_pieces_of_any_size_give_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    """S2-25F"""
    wire = b"".join(line + b"\n" for line in lines)
    reader = LineReader(LIMIT)
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        reader.feed(wire[:size])
        wire = wire[size:]

    assert _lines(reader) == [
        line if len(line) <= LIMIT else None for line in lines if line.strip() or len(line) > LIMIT
    ]
