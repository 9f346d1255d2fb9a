"""Tables and short words for people: how a command ended, a summary of a run, lists of things.

Owns wording and colours. Pure: values in, renderables out. Foreign text is escaped here. Called by the verbs and sinks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.durations import show
from quarterdeck.cli.escaping import escape
from quarterdeck.contracts.states import CommandState as S

STATE_STYLES: Final[Mapping[S, str]] = {
    **dict.fromkeys(S, "default"),
    S.SUCCEEDED: "green",
    S.FAILED: "red",
    S.TIMED_OUT: "red",
    S.REJECTED: "red",
    S.OUTCOME_UNKNOWN: "bold red",
    S.TERMINATED: "yellow",
    S.UNREACHABLE: "yellow",
    S.EXPIRED: "yellow",
    S.SKIPPED: "yellow",
    S.TERMINATING: "yellow",
}

_IDS: Final = frozenset({"RUN", "COMMAND", "ID"})
"""Columns that people copy from: the others fold to make room for them."""

_SHOWN_ROWS: Final = 40
"""A table of thousands helps nobody; groups and --format do."""


def table(*columns: str) -> Table:
    """An empty table in the house's style."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        whole = column in _IDS
        made.add_column(column, overflow="ellipsis" if whole else "fold", no_wrap=whole)
    return made


def text(value: object) -> Text:
    """`value` as one cell: foreign text is escaped, and never read as markup."""
    return Text("" if value is None else escape(str(value)))


def ending(row: Row) -> str:
    """How a command stands, in a few words: `exit 3`, `killed by signal 9`, `unreachable`."""
    if row.state is S.FAILED and row.signal is not None:
        return f"killed by signal {row.signal}"
    if row.state in {S.SUCCEEDED, S.FAILED} and row.exit_code is not None:
        return "ok" if row.state is S.SUCCEEDED else f"exit {row.exit_code}"
    return str(row.state).replace("_", " ")


def detail(row: Row) -> str:
    """What is to be said besides `ending`; nothing when the exit code says it all.

    An exit code with a reason, such as 126 and `spawn_failed`, is not the program's own: nothing was started.
    """
    if row.state is S.FAILED and not row.reason and (row.exit_code is not None or row.signal is not None):
        return ""
    return row.error or row.reason or ""


def dropped(row: Row) -> str:
    """What a command printed beyond its limit of kept output; nothing when all of it was kept."""
    kept = {"stdout": row.stdout_bytes, "stderr": row.stderr_bytes}
    lost = {"stdout": row.stdout_dropped_bytes, "stderr": row.stderr_dropped_bytes}
    return ", ".join(
        f"{stream} truncated: {bytes_of(kept[stream])} kept, {bytes_of(count)} dropped (--max-output)"
        for stream, count in lost.items()
        if count
    )


def counts_line(board: Board) -> str:
    """`3 succeeded, 1 failed`."""
    counts = board.counts
    return ", ".join(f"{counts[state]} {str(state).replace('_', ' ')}" for state in S if counts[state])


def outcome_table(rows: Sequence[Row]) -> Table:
    """One line per command, at most _SHOWN_ROWS; the others are counted below."""
    made = table("TARGET", "OUTCOME", "TIME", "OUTPUT", "DETAIL")
    for row in rows[:_SHOWN_ROWS]:
        made.add_row(
            text(row.target),
            Text(ending(row), style=STATE_STYLES[row.state]),
            _duration(row),
            _sizes(row),
            text(detail(row)),
        )
    if len(rows) > _SHOWN_ROWS:
        made.add_row(Text(f"… and {len(rows) - _SHOWN_ROWS} more", style="dim"))
    return made


def bytes_of(count: int) -> str:
    """`0`, `812 B`, `4.1 kB`, `50.0 MB`."""
    if count < 1000:
        return f"{count} B" if count else "0"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def rows_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table of foreign values."""
    made = table(*columns)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else text(cell) for cell in row))
    return made


def _duration(row: Row) -> str:
    if row.started_at_ms is None or row.completed_at_ms is None:
        return ""
    return show(max(0, row.completed_at_ms - row.started_at_ms))


def _sizes(row: Row) -> str:
    out, err = bytes_of(row.stdout_bytes), bytes_of(row.stderr_bytes)
    return out if not row.stderr_bytes else f"{out} + {err}"
