"""Several machines: whole lines as they arrive, each behind its machine's name. Called through presentation.py."""

from collections.abc import Iterable
from typing import Final

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.lines import LineSplitter
from quarterdeck.cli.screen import Prefix, Screen
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream

_STYLES: Final = (
    "cyan",
    "magenta",
    "green",
    "blue",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_blue",
)
"""Red and yellow are for trouble."""


class PrefixedLines:
    """A Sink. A line that has not ended waits until it has, or until its command has."""

    def __init__(self, screen: Screen, targets: Iterable[str]) -> None:
        self._screen = screen
        names = list(targets)
        self._width = max(map(len, names), default=0)
        self._styles = {name: _STYLES[i % len(_STYLES)] for i, name in enumerate(names)}
        self._splitters: dict[tuple[str, OutputStream], LineSplitter] = {}

    def output(self, chunk: Chunk) -> None:
        splitter = self._splitters.setdefault((chunk.row.command_id, chunk.stream), LineSplitter())
        self._write(chunk.row, chunk.stream, splitter.feed(chunk.content))

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        self._flush(row)
        self._screen.note(f"{row.target}: [{missing_bytes} bytes of {stream} are no longer stored]", "yellow")

    def changed(self, row: Row) -> None:
        if row.ended:
            self._flush(row)

    async def finish(self, board: Board) -> None:
        """A watch that was cut short shows what it has."""
        for row in board.rows.values():
            self._flush(row)

    def _flush(self, row: Row) -> None:
        for stream in OutputStream:
            splitter = self._splitters.pop((row.command_id, stream), None)
            if splitter is not None:
                self._write(row, stream, splitter.flush())

    def _write(self, row: Row, stream: OutputStream, lines: bytes) -> None:
        if lines:
            style = self._styles.get(row.target, "")
            self._screen.write(stream, lines, Prefix(f"{row.target:<{self._width}} │ ", style))
