"""Events of a feed → the board and the sinks: what each event means, in which order, and what is missing.

Owns the contiguity of output (no byte shown twice, gaps named) and the reading of event bodies. Does no I/O of its own:
the events come in as an async iterator. Called by follow.py and the demo.
"""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.client.feed import END, OUTPUT, RESYNC, SNAPSHOT, FeedEvent
from quarterdeck.contracts.output import OutputStream


class Chunk(NamedTuple):
    """Bytes of one stream of one command, directly behind those before it."""

    row: Row
    stream: OutputStream
    offset: int
    content: bytes


class Sink(Protocol):
    """Something that shows or keeps a run. Calls come in order; none may block for long."""

    def output(self, chunk: Chunk) -> None: ...

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        """The server no longer had these bytes when we came back for them."""

    def changed(self, row: Row) -> None:
        """The row's state, or its attempt, is another one now."""

    async def finish(self, board: Board) -> None:
        """The watch is over, whether the run is or not."""


class Watch:
    """Feeds one run. `board` is its truth, `sinks` see every change."""

    def __init__(self, board: Board, sinks: Sequence[Sink]) -> None:
        self._board = board
        self._sinks = sinks
        self._next_offset: dict[tuple[str, OutputStream], int] = {}
        self._snapshot: Mapping[str, Any] = {}

    async def run(self, events: AsyncIterator[FeedEvent]) -> None:
        """Until the feed ends. Raises what the feed raises."""
        async for event in events:
            self.take(event)

    def take(self, event: FeedEvent) -> None:
        """One event of the feed."""
        if event.kind == OUTPUT:
            self._take_output(event.content)
        elif event.kind == SNAPSHOT:
            self._snapshot = event.content  # its past follows, event by event
        elif event.kind == RESYNC:
            self._take_snapshot(event.content)
        elif event.kind == END:
            self._take_snapshot(self._snapshot)  # for what the feed no longer had
        else:
            self._take_change(event.content)

    def _take_change(self, cloud_event: Mapping[str, Any]) -> None:
        facts = cloud_event.get("data")
        if not isinstance(facts, dict):
            return
        row = self._board.apply(
            str(cloud_event.get("type", "")), int(cloud_event.get("aggregateversion", 0)), facts
        )
        self._tell(row)

    def _take_snapshot(self, snapshot: Mapping[str, Any]) -> None:
        alone = snapshot.get("command")
        for command in snapshot.get("commands", ()) if alone is None else (alone,):
            facts = dict(command)
            for stream in OutputStream:
                described = facts.pop(stream, None) or {}
                facts[f"{stream}_bytes"] = described.get("length")
                facts[f"{stream}_sha256"] = described.get("sha256")
                facts[f"{stream}_truncated"] = described.get("truncated_bytes")
            self._tell(self._board.apply("", int(facts.get("version", 0)), facts))

    def _tell(self, row: Row | None) -> None:
        if row is not None:
            for sink in self._sinks:
                sink.changed(row)

    def _take_output(self, piece: Mapping[str, Any]) -> None:
        row = self._board.rows.get(str(piece.get("command_id")))
        attempt = int(piece.get("attempt", 1))
        if row is None or attempt < row.attempt:
            return
        if attempt > row.attempt:
            self._board.begin_attempt(row.command_id, attempt)
        self._place(row, OutputStream(piece["stream"]), int(piece["offset"]), _content(piece))

    def _place(self, row: Row, stream: OutputStream, offset: int, content: bytes) -> None:
        place = (f"{row.command_id}.{row.attempt}", stream)
        expected = self._next_offset.get(place, 0)
        if offset > expected:
            for sink in self._sinks:
                sink.gap(row, stream, offset - expected)
        elif offset < expected:
            content, offset = content[expected - offset :], expected
        if not content:
            return
        self._next_offset[place] = offset + len(content)
        chunk = Chunk(row, stream, offset, content)
        for sink in self._sinks:
            sink.output(chunk)


def _content(piece: Mapping[str, Any]) -> bytes:
    text = piece.get("text")
    return text.encode() if isinstance(text, str) else base64.b64decode(piece.get("data") or "")
