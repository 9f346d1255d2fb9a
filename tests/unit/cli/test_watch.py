"""Events of a feed become contiguous output and one truth, whatever the feed repeats or leaves out."""

import base64
from typing import Any

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.client.feed import FeedEvent
from quarterdeck.cli.watch import Chunk, Watch
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState


class Recorder:
    """A Sink that keeps what it was told."""

    def __init__(self) -> None:
        self.content: dict[tuple[str, int, str], bytes] = {}
        self.gaps: list[int] = []
        self.states: list[CommandState] = []

    def output(self, chunk: Chunk) -> None:
        key = (chunk.row.target, chunk.row.attempt, chunk.stream.value)
        self.content[key] = self.content.get(key, b"") + chunk.content

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        self.gaps.append(missing_bytes)

    def changed(self, row: Row) -> None:
        self.states.append(row.state)

    async def finish(self, board: Board) -> None:
        """Nothing to do."""


def _watch() -> tuple[Watch, Recorder, Board]:
    board, recorder = Board([("c1", "web-1")]), Recorder()
    return Watch(board, [recorder]), recorder, board


def _output(offset: int, content: bytes, attempt: int = 1) -> FeedEvent:
    piece = {"command_id": "c1", "attempt": attempt, "stream": "stdout", "offset": offset}
    return FeedEvent("output", {**piece, "data": base64.b64encode(content).decode()})


def _event(kind: str, version: int, **facts: Any) -> FeedEvent:
    return FeedEvent(
        "command", {"type": kind, "aggregateversion": version, "data": {"command_id": "c1", **facts}}
    )


def test_output_that_arrives_twice_or_overlaps_is_shown_once() -> None:
    """Offsets decide, not the feed's manners."""
    watch, seen, _ = _watch()

    for event in (_output(0, b"hello "), _output(0, b"hello "), _output(3, b"lo world"), _output(11, b"!")):
        watch.take(event)

    assert seen.content == {("web-1", 1, "stdout"): b"hello world!"}
    assert seen.gaps == []


def test_bytes_that_are_gone_are_counted_and_the_rest_is_shown() -> None:
    """Truncation is explicit."""
    watch, seen, _ = _watch()

    for event in (_output(0, b"abc"), _output(10, b"xyz")):
        watch.take(event)

    assert seen.gaps == [7]
    assert seen.content == {("web-1", 1, "stdout"): b"abcxyz"}


def test_output_of_a_newer_attempt_begins_at_its_own_start() -> None:
    """And what is left of an older one is not mixed in."""
    watch, seen, board = _watch()

    for event in (_output(0, b"first"), _output(0, b"second", attempt=2), _output(5, b"late")):
        watch.take(event)

    assert seen.content == {("web-1", 1, "stdout"): b"first", ("web-1", 2, "stdout"): b"second"}
    assert board.rows["c1"].attempt == 2


def test_text_and_base64_are_the_same_bytes() -> None:
    """`?text=1` changes the wrapping alone."""
    watch, seen, _ = _watch()
    piece = {"command_id": "c1", "attempt": 1, "stream": "stderr", "offset": 0, "text": "ümlaut"}

    watch.take(FeedEvent("output", piece))

    assert seen.content == {("web-1", 1, "stderr"): "ümlaut".encode()}


def test_sinks_hear_of_each_change_once() -> None:
    """S4-22: repeated events are old news."""
    watch, seen, _ = _watch()
    started = _event("command.started", 3, state="executing", attempt=1)

    for event in (
        started,
        started,
        _event("command.completed", 4, state="succeeded", attempt=1, exit_code=0),
    ):
        watch.take(event)

    assert seen.states == [CommandState.EXECUTING, CommandState.SUCCEEDED]


def test_resync_brings_the_board_up_to_date() -> None:
    """S4-22: the log was trimmed while we were away; states are told at once, with their digests."""
    watch, seen, board = _watch()
    command = {"command_id": "c1", "agent_id": "web-1", "state": "succeeded", "attempt": 1, "version": 5}

    watch.take(
        FeedEvent(
            "resync", {"commands": [{**command, "stdout": {"length": 3, "sha256": "ab"}, "stderr": {}}]}
        )
    )

    row = board.rows["c1"]
    assert (row.state, row.stdout_bytes, row.stdout_sha256) == (CommandState.SUCCEEDED, 3, "ab")
    assert seen.states == [CommandState.SUCCEEDED]


def test_snapshot_counts_only_for_what_the_feed_no_longer_tells() -> None:
    """The past follows it, event by event, and is told in its order."""
    watch, seen, _ = _watch()
    command = {"command_id": "c1", "state": "succeeded", "attempt": 1, "version": 4, "exit_code": 0}

    watch.take(FeedEvent("snapshot", {"command": command}))
    watch.take(_event("command.started", 3, state="executing", attempt=1))
    watch.take(FeedEvent("end", {}))

    assert seen.states == [CommandState.EXECUTING, CommandState.SUCCEEDED]
