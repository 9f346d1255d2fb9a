"""What the command line tells its caller about a run, as one number.

    0    all succeeded
    1    usage or API error
    2    some failed
    3    still running when the wait ended
    4    some undelivered and none failed
    5    some were skipped: what they were to come after did not succeed
    130  interrupted

A run on one machine passes the remote exit code through. Owns the mapping only; pure. Called by `run` and `tail`.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from quarterdeck.cli.board import Row
from quarterdeck.contracts.states import TERMINAL, CommandState


class ExitCode(IntEnum):
    OK = 0
    ERROR = 1
    SOME_FAILED = 2
    STILL_RUNNING = 3
    SOME_UNDELIVERED = 4
    STOPPED = 5
    INTERRUPTED = 130


_UNDELIVERED: Final = frozenset({CommandState.UNREACHABLE, CommandState.EXPIRED})
_POLICY_REASONS: Final = frozenset({"policy", "threshold"})
_SIGNAL_BASE: Final = 128
"""A process that a signal ended has the exit code 128 + signal. Source: POSIX shell, §2.8.2."""


def of_run(rows: Sequence[Row]) -> int:
    """The exit code for a run whose commands stand at `rows`."""
    if any(row.state not in TERMINAL for row in rows):
        return ExitCode.STILL_RUNNING
    if len(rows) == 1 and (remote := _remote_code(rows[0])) is not None:
        return remote
    return _of_many(rows)


def _remote_code(row: Row) -> int | None:
    if row.exit_code is not None and row.state in {CommandState.SUCCEEDED, CommandState.FAILED}:
        return row.exit_code
    if row.signal is not None and row.state is CommandState.FAILED:
        return _SIGNAL_BASE + row.signal
    return None


def _of_many(rows: Sequence[Row]) -> ExitCode:
    if any(_stopped(row) for row in rows):
        return ExitCode.STOPPED
    missed = [row for row in rows if row.state is not CommandState.SUCCEEDED]
    if any(row.state not in _UNDELIVERED for row in missed):
        return ExitCode.SOME_FAILED
    return ExitCode.SOME_UNDELIVERED if missed else ExitCode.OK


def _stopped(row: Row) -> bool:
    return row.state is CommandState.SKIPPED or (
        row.state is CommandState.REJECTED and row.reason in _POLICY_REASONS
    )
