"""What the terminal sees: escaped, line by line, folded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.cli.durations import parse_ms, parse_timeout_ms, show
from quarterdeck.cli.escaping import printable
from quarterdeck.cli.folding import fold
from quarterdeck.cli.lines import LineSplitter


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain \xc3\xbcml\tx\n", "plain üml\tx\n"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"10%\r20%\r\n", "10%\\x0d20%\n"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202egnp.exe\u2066".encode(), "\\u202egnp.exe\\u2066"),
        ("\x9b31m".encode(), "\\x9b31m"),
    ],
)
def test_terminal_never_obeys_a_machine(raw: bytes, shown: str) -> None:
    """Control characters in output are escaped on a terminal."""
    assert printable(raw) == shown


@given(st.binary(max_size=200))
def test_no_byte_string_gets_a_control_character_through(raw: bytes) -> None:
    """Whatever a machine prints."""
    assert all(
        char.isprintable() or char in "\n\t" or char.isspace() or ord(char) > 0xFF for char in printable(raw)
    )
    assert "\x1b" not in printable(raw)


@given(st.lists(st.binary(max_size=50)))
def test_lines_are_whole_and_no_byte_is_lost(chunks: list[bytes]) -> None:
    """However the stream was cut."""
    splitter = LineSplitter(max_line_bytes=10_000)

    handed_out = [splitter.feed(chunk) for chunk in chunks]
    rest = splitter.flush()

    assert all(piece == b"" or piece.endswith(b"\n") for piece in handed_out)
    whole, said = b"".join(handed_out) + rest, b"".join(chunks)
    assert whole == said + (b"\n" if rest else b"")


def test_endless_line_is_shown_in_pieces() -> None:
    """100 MB without a line feed must not sit in memory."""
    splitter = LineSplitter(max_line_bytes=10)

    assert splitter.feed(b"x" * 8) == b""
    assert splitter.feed(b"y" * 8) == b"x" * 8 + b"y" * 8 + b"\n"
    assert splitter.flush() == b""


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (["web-2", "web-1", "web-3"], "web-[1-3]"),
        (["web-1", "db", "web-3"], "db,web-[1,3]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["rack1-a", "rack2-a"], "rack[1-2]-a"),
        (["one"], "one"),
        ([], ""),
    ],
)
def test_machine_names_are_folded(names: list[str], folded: str) -> None:
    """A group of thousands fits a line."""
    assert fold(names) == folded


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("30", 30_000),
        ("1.5", 1500),
        ("500ms", 500),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, duration_ms: int) -> None:
    """A bare number is seconds."""
    assert parse_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "timeout_ms"), [("quick", 10_000), ("normal", 30_000), ("long", 60_000), ("2m", 120_000)]
)
def test_a_timeout_may_be_a_preset(text: str, timeout_ms: int) -> None:
    """S0-16"""
    assert parse_timeout_ms(text) == timeout_ms


@pytest.mark.parametrize("text", ["", "0", "-5", "5x", "m5", "5m 3s", "1e9"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The error shows the notation."""
    with pytest.raises(ValueError, match="duration"):
        parse_ms(text)


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(300, "0.3s"), (12_000, "12s"), (125_000, "2m05s"), (11_400_000, "3h10m"), (352_800_000, "4d02h")],
)
def test_durations_are_shown_short(duration_ms: int, text: str) -> None:
    """One column of a table."""
    assert show(duration_ms) == text
