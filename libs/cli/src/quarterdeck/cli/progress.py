"""The line that lives below a run's output: how many are done, how they went, how long it takes.

Owns the display only. A Sink; shown by Screen.live. Called through presentation.py.
"""

from collections.abc import Callable, Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.durations import show
from quarterdeck.cli.tables import STATE_STYLES
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import Clock

_BAR_WIDTH: Final = 24


class Progress:
    """`more`: lines to stand above it, asked for at each refresh."""

    def __init__(
        self, board: Board, clock: Clock, more: Callable[[], Iterable[RenderableType]] | None = None
    ) -> None:
        self._board = board
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._more = more
        self._spinner = Spinner("dots")

    def output(self, chunk: Chunk) -> None:
        """Shown by others."""

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        """Shown by others."""

    def changed(self, row: Row) -> None:
        """The next refresh reads the board."""

    async def finish(self, board: Board) -> None:
        """Screen.live takes the display away."""

    def __rich__(self) -> RenderableType:
        counts = self._board.counts
        total = sum(counts.values())
        done = sum(1 for row in self._board.rows.values() if row.ended)
        states = Text("  ")
        for state in CommandState:
            if counts[state]:
                states.append(f"{counts[state]} {str(state).replace('_', ' ')}  ", style=STATE_STYLES[state])
        line = Table.grid(padding=(0, 1))
        line.add_row(
            self._spinner,
            ProgressBar(total=max(total, 1), completed=done, width=_BAR_WIDTH),
            Text(f"{done}/{total}", style="bold"),
            states,
            Text(show((self._clock.monotonic_s() - self._started_s) * 1000), style="dim"),
        )
        return Group(*(self._more() if self._more else ()), line)
