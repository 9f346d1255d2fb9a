"""`qd tail`: the output of a run or a command, from its start."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quarterdeck.cli.board import Board
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.follow import Subject, follow
from quarterdeck.cli.interrupts import Interrupts
from quarterdeck.cli.output.lines import PrefixedLines
from quarterdeck.cli.output.passthrough import PassThrough
from quarterdeck.cli.presentation import Format, Style
from quarterdeck.cli.resolve import find
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.watch import Chunk, Sink
from quarterdeck.contracts.output import OutputStream


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the output is shown."""

    follow: Annotated[bool, Parameter(alias="-f")] = False
    """Go on until it ends; the exit code is that of the run."""

    group: Annotated[bool, Parameter(alias="-g")] = False
    """With -f: fold machines whose output is identical."""

    log_dir: Path | None = None
    """With -f: keep the exact bytes of each machine and stream in files here."""

    format: Format = "table"
    """With -f, for programs: json when it is over, jsonl as it happens."""

    raw: bool = False
    """Let control characters of the output reach the terminal."""


def tail(id: str, /, *, shown: Shown = Shown(), server: Server = ANY_SERVER) -> int:
    """Show the output of a run or a command: what there is, or with -f until it ends."""
    return asyncio.run(_tail(id, shown, server))


async def _tail(run_id: str, shown: Shown, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        found = await find(api, run_id)
        board = Board(found.commands)
        if not shown.follow:
            await _show_stored(api, board, Screen.of_process(raw=shown.raw))
            return ExitCode.OK
        subject = Subject(
            run_id=run_id,
            board=board,
            feed=lambda output: found.watch(output=output),
            terminate=found.terminate,
        )
        style = Style(format=shown.format, group=shown.group, raw=shown.raw, log_dir=shown.log_dir)
        async with Interrupts() as interrupts:
            return await follow(api, subject, style, interrupts, wait_s=None)


async def _show_stored(api: Api, board: Board, screen: Screen) -> None:
    rows = list(board.rows.values())
    sink: Sink
    sink = PassThrough(screen) if len(rows) == 1 else PrefixedLines(screen, (row.target for row in rows))
    for row in rows:
        for stream in OutputStream:
            offset = 0
            async for piece in api.output(row.command_id, stream):
                sink.output(Chunk(row, stream, offset, piece))
                offset += len(piece)
    await sink.finish(board)
