"""How a run is shown: which sinks and which progress display, chosen from the user's flags.

Owns the choice, nothing of the showing. Called by follow.py.
"""

from pathlib import Path
from typing import Literal

import msgspec
from rich.console import RenderableType

from quarterdeck.cli.board import Board
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.output.groups import Groups
from quarterdeck.cli.output.lines import PrefixedLines
from quarterdeck.cli.output.log_dir import LogDir
from quarterdeck.cli.output.passthrough import PassThrough
from quarterdeck.cli.output.results import JsonDocument, JsonLines
from quarterdeck.cli.progress import Progress
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.watch import Sink
from quarterdeck.core.clock import SystemClock

Format = Literal["table", "json", "jsonl"]


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """The user's wishes."""

    format: Format = "table"
    group: bool = False
    raw: bool = False
    log_dir: Path | None = None
    progress: bool = True


class Presentation(msgspec.Struct, kw_only=True):
    """One run on one screen. `sinks` in the order in which they are told."""

    screen: Screen
    sinks: list[Sink]
    progress: RenderableType | None
    log_dir: LogDir | None
    needs_output: bool
    """False: digests are enough, and the feed may leave output out."""


def present(style: Style, board: Board, api: Api, run_id: str) -> Presentation:
    """`board` knows its targets already. Raises UsageError when the log directory cannot be made."""
    screen = Screen.of_process(raw=style.raw)
    sinks: list[Sink] = []
    groups = Groups(screen, api.output) if style.group and style.format == "table" else None
    log_dir = LogDir(style.log_dir, api.output) if style.log_dir is not None else None
    if log_dir is not None:
        sinks.append(log_dir)
    if style.format == "json":
        sinks.append(JsonDocument(run_id, _print_line))
    elif style.format == "jsonl":
        sinks.append(JsonLines(run_id, _print_line))
    elif groups is not None:
        sinks.append(groups)
    elif len(board.rows) == 1:
        sinks.append(PassThrough(screen))
    else:
        sinks.append(PrefixedLines(screen, (row.target for row in board.rows.values())))
    return Presentation(
        screen=screen,
        sinks=sinks,
        progress=_progress(style, board, groups),
        log_dir=log_dir,
        needs_output=groups is None or log_dir is not None,
    )


def _progress(style: Style, board: Board, groups: Groups | None) -> RenderableType | None:
    # One machine's bytes go straight to the terminal, partial lines included: nothing may stand below them.
    if not style.progress or (style.format == "table" and groups is None and len(board.rows) == 1):
        return None
    return Progress(board, SystemClock(), groups.overview if groups is not None else None)


def _print_line(line: str) -> None:
    print(line, flush=True)
