"""How a run is shown and kept."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.output.groups import GroupBook, Groups
from quarterdeck.cli.output.lines import PrefixedLines
from quarterdeck.cli.output.log_dir import LogDir
from quarterdeck.cli.output.passthrough import PassThrough
from quarterdeck.cli.output.results import KEPT_BYTES, JsonDocument, JsonLines
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState


class Pipe(io.TextIOWrapper):
    """A stdout that is no terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def content(self) -> bytes:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


def _screen(*, terminal: bool = False, raw: bool = False) -> tuple[Screen, Pipe, Pipe]:
    out, err = Pipe(), Pipe()
    consoles = (
        Console(file=file, force_terminal=terminal, soft_wrap=True, color_system=None, highlight=False)
        for file in (out, err)
    )
    return Screen(*consoles, raw=raw), out, err


def _row(name: str = "web-1", **facts: Any) -> Row:
    return Row(command_id=f"id-{name}", target=name, **facts)


def _chunk(row: Row, content: bytes, offset: int = 0, stream: OutputStream = OutputStream.STDOUT) -> Chunk:
    return Chunk(row, stream, offset, content)


def _ended(name: str, stdout: bytes = b"", **facts: Any) -> Row:
    digest = hashlib.sha256(stdout).hexdigest()
    given = {
        "state": CommandState.SUCCEEDED,
        "exit_code": 0,
        "stdout_bytes": len(stdout),
        "stdout_sha256": digest,
    }
    return _row(name, **{**given, **facts})


def _board(*rows: Row) -> Board:
    board = Board([])
    board.rows.update((row.command_id, row) for row in rows)
    return board


async def _nothing(command_id: str, stream: str) -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


def test_one_machine_in_a_pipe_is_byte_exact_and_keeps_its_streams_apart() -> None:
    """`qd run -t host -- cat file > copy` works."""
    screen, out, err = _screen()
    sink, row = PassThrough(screen), _row()

    sink.output(_chunk(row, b"\x00\xff\x1b[31m no line feed"))
    sink.output(_chunk(row, b"oops\n", stream=OutputStream.STDERR))

    assert out.content == b"\x00\xff\x1b[31m no line feed"
    assert err.content == b"oops\n"


def test_terminal_gets_escapes_as_text_unless_raw_was_asked_for() -> None:
    """Control characters in output are escaped on a terminal unless --raw."""
    for raw, shown in ((False, b"\\x1b[31mred\n"), (True, b"\x1b[31mred\n")):
        screen, out, _ = _screen(terminal=True, raw=raw)

        PassThrough(screen).output(_chunk(_row(), b"\x1b[31mred\n"))

        assert out.content == shown


async def test_machines_never_share_a_line() -> None:
    """Partial lines wait for their end, or for the end of their command."""
    screen, out, _ = _screen()
    one, two = _row("a"), _row("bb")
    sink = PrefixedLines(screen, ["a", "bb"])

    sink.output(_chunk(one, b"first "))
    sink.output(_chunk(two, b"second\nthi"))
    sink.output(_chunk(one, b"half\n"))
    two.state = CommandState.SUCCEEDED
    sink.changed(two)
    await sink.finish(_board(one, two))

    assert out.content.decode().splitlines() == ["bb │ second", "a  │ first half", "bb │ thi"]


def test_markup_of_a_machine_is_no_markup_here() -> None:
    """`[bold]` in a log line is text."""
    screen, out, _ = _screen(terminal=True)

    PrefixedLines(screen, ["a"]).output(_chunk(_row("a"), b"[bold red]x[/]\n"))

    assert b"[bold red]x[/]" in out.content


async def test_log_files_hold_the_exact_bytes_of_each_stream(tmp_path: Path) -> None:
    """--log-dir: one file per target and stream; an empty one for what printed nothing."""
    content = bytes(range(256)) * 10
    row = _ended("host/vm", content)
    sink = LogDir(tmp_path / "logs", _nothing)

    sink.output(_chunk(row, content[:1000]))
    sink.output(_chunk(row, content[1000:], offset=1000))
    await sink.finish(_board(row))

    assert (tmp_path / "logs" / "host@vm.stdout").read_bytes() == content
    assert (tmp_path / "logs" / "host@vm.stderr").read_bytes() == b""
    assert sink.incomplete == []


async def test_log_file_without_the_agents_digest_is_fetched_again(tmp_path: Path) -> None:
    """And named when even that does not help."""
    asked: list[tuple[str, str]] = []

    async def fetch(command_id: str, stream: str) -> AsyncIterator[bytes]:
        asked.append((command_id, stream))
        for piece in (b"who", b"le"):
            yield piece

    good, bad = _ended("good", b"whole"), _ended("bad", b"something else")
    sink = LogDir(tmp_path, fetch)
    sink.output(_chunk(good, b"le", offset=3))

    await sink.finish(_board(good, bad))

    assert asked == [("id-good", "stdout"), ("id-bad", "stdout")]
    assert (tmp_path / "good.stdout").read_bytes() == b"whole"
    assert sink.incomplete == [tmp_path / "bad.stdout"]


async def test_log_file_of_a_new_attempt_starts_empty(tmp_path: Path) -> None:
    """The file is that of the attempt that counts."""
    row = _row("a")
    sink = LogDir(tmp_path, _nothing)
    sink.output(_chunk(row, b"first try"))

    row.attempt = 2
    sink.output(_chunk(row, b"second"))

    assert (tmp_path / "a.stdout").read_bytes() == b"second"


def test_machines_with_identical_output_are_one_group_the_largest_first() -> None:
    """State, exit code and both digests decide."""
    book = GroupBook()
    for row in (
        _ended("a", b"x"),
        _ended("b", b"y"),
        _ended("c", b"x"),
        _ended("d", b"x", state=CommandState.FAILED, exit_code=1),
    ):
        book.add(row)

    assert [[row.target for row in members] for members in book.groups] == [["a", "c"], ["b"], ["d"]]


async def test_output_of_a_group_is_fetched_once() -> None:
    """A thousand machines that say the same cost one download."""
    asked: list[str] = []

    async def fetch(command_id: str, stream: str) -> AsyncIterator[bytes]:
        asked.append(command_id)
        yield b"same output"

    screen, out, _ = _screen()
    sink = Groups(screen, fetch)
    for number in range(1, 4):
        sink.changed(_ended(f"web-{number}", b"same output"))

    await sink.finish(_board())

    assert asked == ["id-web-1"]
    assert "3 machines ok  web-[1-3]" in out.content.decode()
    assert out.content.endswith(b"same output\n")


async def test_json_document_tells_everything_of_each_machine() -> None:
    """Text where it is text, base64 where it is not."""
    printed: list[str] = []
    text, binary = _ended("a", b"hi\n"), _ended("b", b"\xff", state=CommandState.FAILED, exit_code=3)
    sink = JsonDocument("batch", printed.append)

    sink.output(_chunk(text, b"hi\n"))
    sink.output(_chunk(binary, b"\xff"))
    await sink.finish(_board(text, binary))

    document = json.loads("".join(printed))
    assert document["counts"] == {"succeeded": 1, "failed": 1}
    a, b = document["results"]
    assert (a["target"], a["stdout"], a["exit_code"], a["stderr"]) == ("a", "hi\n", 0, "")
    assert (b["target"], b["stdout_base64"], b["state"]) == ("b", "/w==", "failed")


async def test_json_document_is_bounded_and_says_so() -> None:
    """Full logs are --log-dir's."""
    printed: list[str] = []
    row = _ended("a", b"x" * (KEPT_BYTES + 5))
    sink = JsonDocument("batch", printed.append)

    sink.output(_chunk(row, b"x" * (KEPT_BYTES + 5)))
    await sink.finish(_board(row))

    result = json.loads("".join(printed))["results"][0]
    assert (len(result["stdout"]), result["stdout_truncated"]) == (KEPT_BYTES, True)


async def test_json_lines_tell_each_event_as_it_happens() -> None:
    """One object per line; the last one counts."""
    printed: list[str] = []
    row = _ended("a", b"hi", result='{"success": true}')
    sink = JsonLines("batch", printed.append)

    sink.output(_chunk(row, b"hi"))
    sink.gap(row, OutputStream.STDERR, 4)
    sink.changed(row)
    await sink.finish(_board(row))

    lines = [json.loads(line) for line in printed]
    assert [line["type"] for line in lines] == ["output", "gap", "state", "end"]
    assert lines[0]["text"] == "hi"
    assert lines[2]["result"] == {"success": True}
    assert lines[3]["counts"] == {"succeeded": 1}


@pytest.mark.parametrize("stream", list(OutputStream))
def test_gap_is_said_aloud(stream: OutputStream) -> None:
    """Never a silent hole."""
    screen, _, err = _screen()

    PassThrough(screen).gap(_row(), stream, 1234)

    assert b"1234 bytes" in err.content
