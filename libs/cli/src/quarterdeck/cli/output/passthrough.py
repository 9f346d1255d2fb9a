"""One machine: its bytes are ours, as ssh would have it. Called through presentation.py."""

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream


class PassThrough:
    """A Sink. Nothing is held back: a prompt without a line feed is seen at once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def output(self, chunk: Chunk) -> None:
        self._screen.write(chunk.stream, chunk.content)

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        self._screen.note(f"[{missing_bytes} bytes of {stream} are no longer stored]", "yellow")

    def changed(self, row: Row) -> None:
        """States are told at the end."""

    async def finish(self, board: Board) -> None:
        """Nothing is held back."""
