"""A run from its id to an exit code: watch it, show it, let go of it, cancel it.

Owns the order of these steps and the words between them. Called by `run` and `tail`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Final

import msgspec

from quarterdeck.cli import exit_codes
from quarterdeck.cli.board import Board
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.client.feed import FeedEvent
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.interrupts import PATIENCE_S, Interrupts
from quarterdeck.cli.presentation import Presentation, Style, present
from quarterdeck.cli.tables import counts_line, detail, dropped, ending, outcome_table, text
from quarterdeck.cli.watch import Watch
from quarterdeck.contracts.states import CommandState

_CANCEL_WAIT_S: Final = 30.0
"""SIGTERM, grace, SIGKILL and proof take a few seconds."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched: a batch or a single command."""

    run_id: str
    board: Board
    feed: Callable[[bool], AsyncIterator[FeedEvent]]
    """Argument: whether output is wanted."""
    terminate: Callable[[], Awaitable[None]]
    """Asks for the end of it."""


async def follow(
    api: Api, subject: Subject, style: Style, interrupts: Interrupts, wait_s: float | None
) -> int:
    """Shows the run until it ends, `wait_s` is over, or the user lets go. Returns the exit code.

    Raises ApiProblem, ServerUnreachable, WatchLost, OSError (log directory).
    """
    shown = present(style, subject.board, api, subject.run_id)
    live = nullcontext() if shown.progress is None else shown.screen.live(shown.progress)
    with live:
        let_go = await _watch(subject, shown, interrupts, wait_s)
    for sink in shown.sinks:
        await sink.finish(subject.board)
    if let_go:
        return await _let_go(subject, shown, interrupts)
    _summary(subject, style, shown)
    return exit_codes.of_run(list(subject.board.rows.values()))


async def _watch(subject: Subject, shown: Presentation, interrupts: Interrupts, wait_s: float | None) -> bool:
    """Whether the user let go of it."""
    watching = asyncio.create_task(
        Watch(subject.board, shown.sinks).run(subject.feed(shown.needs_output)), name="watch"
    )
    letting_go = asyncio.create_task(interrupts.first.wait(), name="let go")
    try:
        await asyncio.wait({watching, letting_go}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
            return False
        return letting_go.done()
    finally:
        watching.cancel()
        letting_go.cancel()
        await asyncio.gather(watching, letting_go, return_exceptions=True)


async def _let_go(subject: Subject, shown: Presentation, interrupts: Interrupts) -> int:
    note = shown.screen.note
    note(f"\nDetached; {subject.run_id} goes on ({counts_line(subject.board)}).", "bold")
    note(f"  watch it again:  qd tail -f {subject.run_id}")
    note(f"  cancel it:       qd cancel {subject.run_id}")
    note(f"Ctrl-C again within {PATIENCE_S:.0f} s cancels it now.")
    if await interrupts.second_within(PATIENCE_S):
        note("Cancelling…", "bold")
        await subject.terminate()
        try:
            async with asyncio.timeout(_CANCEL_WAIT_S):
                await Watch(subject.board, []).run(subject.feed(False))
        except TimeoutError:
            note("The end of some is not proved yet.", "yellow")
        note(counts_line(subject.board))
    return ExitCode.INTERRUPTED


def _summary(subject: Subject, style: Style, shown: Presentation) -> None:
    rows = list(subject.board.rows.values())
    if shown.log_dir is not None:
        for path in shown.log_dir.incomplete:
            shown.screen.note(f"{path}: not all of the output could be fetched", "bold red")
    for row in rows:
        if cut := dropped(row):
            shown.screen.note(f"{row.target}: {cut}", "yellow")
    if style.format != "table":
        return
    if not subject.board.ended:
        shown.screen.note(
            f"Still running ({counts_line(subject.board)}); watch it again: qd tail -f {subject.run_id}",
            "yellow",
        )
        return
    missed = [row for row in rows if row.state is not CommandState.SUCCEEDED]
    if len(rows) == 1:
        row = rows[0]
        if missed and (row.exit_code is None or detail(row)):
            shown.screen.note(f"{row.target}: {ending(row)}{_why(row.error or row.reason)}", "red")
        return
    if missed and not style.group:
        shown.screen.aside(outcome_table(missed))
    shown.screen.note(f"{counts_line(subject.board)}  ·  {subject.run_id}", "red" if missed else "green")


def _why(reason: str | None) -> str:
    return f" ({text(reason).plain})" if reason else ""
