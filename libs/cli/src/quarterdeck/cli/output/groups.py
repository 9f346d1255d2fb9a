"""`--group`: machines whose output is identical, folded into one as they end. Called through presentation.py.

Owns the grouping, which needs no output at all: two machines belong together when state, exit code and the agents'
digests of both streams are equal. The output of a group is fetched once, when it is shown.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, NamedTuple

from rich.console import RenderableType
from rich.rule import Rule
from rich.text import Text

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.escaping import escape
from quarterdeck.cli.folding import fold
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import STATE_STYLES, detail, ending
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream

Fetch = Callable[[str, str], AsyncIterator[bytes]]
"""(command_id, stream) → the whole stored output, in pieces."""

_LIVE_GROUPS: Final = 8
"""As many lines as fit below a prompt."""


class Likeness(NamedTuple):
    """What machines of a group have in common."""

    state: str
    exit_code: int | None
    signal: int | None
    reason: str | None
    result: str | None
    stdout_sha256: str
    stderr_sha256: str


class GroupBook:
    """Pure: ended rows in, groups out."""

    def __init__(self) -> None:
        self._groups: dict[Likeness, dict[str, Row]] = {}

    def add(self, row: Row) -> None:
        """`row` has ended. A row that ended again (another attempt) moves."""
        for members in self._groups.values():
            members.pop(row.command_id, None)
        self._groups.setdefault(likeness(row), {})[row.command_id] = row

    @property
    def groups(self) -> list[list[Row]]:
        """The largest first; rows in the order of their ends."""
        return sorted(
            (list(members.values()) for members in self._groups.values() if members), key=len, reverse=True
        )


def likeness(row: Row) -> Likeness:
    return Likeness(
        row.state, row.exit_code, row.signal, row.reason, row.result, row.stdout_sha256, row.stderr_sha256
    )


class Groups:
    """A Sink that shows groups while they grow, and each with its output at the end."""

    def __init__(self, screen: Screen, fetch: Fetch) -> None:
        self._screen = screen
        self._fetch = fetch
        self._book = GroupBook()

    def output(self, chunk: Chunk) -> None:
        """Digests say what is needed."""

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        """Digests say what is needed."""

    def changed(self, row: Row) -> None:
        if row.ended:
            self._book.add(row)

    def overview(self) -> Iterable[RenderableType]:
        """The largest groups, one line each, for the progress display."""
        for members in self._book.groups[:_LIVE_GROUPS]:
            yield _headline(members, width=100)

    async def finish(self, board: Board) -> None:
        """Raises ApiProblem, ServerUnreachable."""
        for members in self._book.groups:
            self._screen.show(Rule(_headline(members), align="left"))
            first = members[0]
            if said := detail(first) if len(members) == 1 else first.reason:
                self._screen.note(escape(said), "yellow")
            for stream in OutputStream:
                await self._show(first, stream)

    async def _show(self, row: Row, stream: OutputStream) -> None:
        length = row.stdout_bytes if stream is OutputStream.STDOUT else row.stderr_bytes
        if not length:
            return
        last = b""
        async for piece in self._fetch(row.command_id, stream):
            self._screen.write(stream, piece)
            last = piece or last
        if not last.endswith(b"\n"):
            self._screen.write(stream, b"\n")


def _headline(members: list[Row], width: int | None = None) -> Text:
    first = members[0]
    noun = "machine" if len(members) == 1 else "machines"
    text = Text.assemble(
        (f"{len(members)} {noun}", "bold"), " ", (ending(first), STATE_STYLES[first.state]), "  ",
        fold(row.target for row in members),
    )  # fmt: skip
    if width is not None:
        text.truncate(width, overflow="ellipsis")
    return text
