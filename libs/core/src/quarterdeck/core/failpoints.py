"""Named places in the code where a test may kill, pause or fail the process: the proof that dying there loses nothing.

Unarmed (always, but in a test) a failpoint is one look at an empty dict. A process arms them when it starts, from
its settings:

    QD_FAILPOINTS=agent.after_starting=kill,gateway.after_publish=pause:2000@3    the third time it is reached
    QD_FAILPOINTS_DIR=/some/dir                                                   strikes once, also across restarts

Each strike in a directory leaves a file with the failpoint's name there: a test sees that it was reached, and the
restarted process does not strike again. docs/failpoints.md lists the places and what is expected after each.
"""

import os
import signal
import time
from enum import StrEnum
from pathlib import Path

import msgspec

from quarterdeck.contracts.errors import QuarterdeckError


class Action(StrEnum):
    KILL = "kill"
    """SIGKILL of this very process."""
    PAUSE = "pause"
    """The whole process stands still, as under SIGSTOP; takes milliseconds after a colon."""
    FAIL = "fail"
    """Raises FailpointStruck."""


class FailpointStruck(QuarterdeckError):
    """What an armed `fail` raises."""

    code = "failpoint"


class _Armed(msgspec.Struct):
    action: Action
    pause_ms: int
    skip: int
    """How many more times it is passed before it strikes."""


_armed: dict[str, _Armed] = {}
_marks: Path | None = None


def reach(name: str) -> None:
    """Mark a place. `name`: `<part>.<moment>`, a literal. Raises FailpointStruck where armed with `fail`."""
    if _armed:
        _strike(name)


def arm(orders: str, marks: Path | None = None) -> None:
    """Arm from the text of QD_FAILPOINTS. `marks`: QD_FAILPOINTS_DIR. Raises ValueError for a text that is none."""
    global _marks  # noqa: PLW0603 -- failpoints are the process's, like signals
    _marks = marks
    for order in filter(None, orders.split(",")):
        name, equals, rest = order.partition("=")
        if not equals:
            raise ValueError(f"failpoint {order!r}: expected name=action[:ms][@n]")
        action, _, nth = rest.partition("@")
        action, _, pause_ms = action.partition(":")
        _armed[name] = _Armed(Action(action), int(pause_ms or 0), int(nth or 1) - 1)


def disarm() -> None:
    _armed.clear()


def _strike(name: str) -> None:
    armed = _armed.get(name)
    if armed is None:
        return
    if armed.skip > 0:
        armed.skip -= 1
        return
    if not _first_strike(name):
        return
    match armed.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.PAUSE:
            time.sleep(armed.pause_ms / 1000)
        case Action.FAIL:
            raise FailpointStruck(f"failpoint {name}")


def _first_strike(name: str) -> bool:
    """With a directory: once for all processes that share it. Without: every time."""
    if _marks is None:
        return True
    try:
        os.close(os.open(_marks / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True
