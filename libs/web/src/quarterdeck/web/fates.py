"""How a command's end is worded for people, in both source systems' words. Pure.

Called by the api's views and by the broadcaster's WebSocket, which know a command as a view or as an event.
"""

from typing import Final, Protocol

from quarterdeck.contracts.states import CommandState as S

_DEADLINE: Final = "deadline"
"""Reason that the store gives when a command's time ran out in a state that proves nothing."""


class Fate(Protocol):
    """What is known of a command's end. A CommandView is one."""

    @property
    def state(self) -> S: ...
    @property
    def target(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...


def ran_out(fate: Fate) -> bool:
    """Its time is over, whether that was proved or not."""
    return fate.state is S.TIMED_OUT or (fate.state is S.OUTCOME_UNKNOWN and fate.reason == _DEADLINE)


def error_of(fate: Fate) -> str:
    """Seed 0's error text; empty unless the command ended badly (S0-18 … S0-20)."""
    if ran_out(fate):
        return "promise timeout"
    match fate.state:
        case S.FAILED:
            return fate.error or _how_it_failed(fate)
        case S.TERMINATED:
            return "terminated"
        case S.UNREACHABLE:
            return f"client not connected: {fate.target}"
        case S.REJECTED | S.EXPIRED | S.SKIPPED:
            return fate.error or fate.state.value
        case S.OUTCOME_UNKNOWN:
            return "outcome unknown"
        case _:
            return ""


def error_message(fate: Fate) -> str | None:
    """Seed 4's: what the agent or we have to say of a bad end; None while there is nothing to say."""
    match fate.state:
        case S.TIMED_OUT:
            return fate.error or f"timed out ({fate.reason or 'execution'})"
        case S.OUTCOME_UNKNOWN:
            return fate.error or "outcome unknown: the agent may have run it and cannot tell"
        case S.EXPIRED:
            return fate.error or "the agent did not come back in time"
        case S.TERMINATED:
            return fate.error
        case _:
            return fate.error or error_of(fate) or None


def _how_it_failed(fate: Fate) -> str:
    if fate.signal is not None:
        return f"killed by signal {fate.signal}"
    if fate.exit_code is not None:
        return f"exit status {fate.exit_code}"
    return fate.reason or "failed"
