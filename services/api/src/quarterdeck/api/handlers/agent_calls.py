"""Calls of one agent as single commands, and what their ends mean to a caller who waited. Pure."""

from typing import Final, TypeVar

import msgspec

from quarterdeck.api.errors import AgentFailed, CallTimedOut, ExactlyOneOf
from quarterdeck.api.handlers.agent_requests import RunOnAgent
from quarterdeck.api.handlers.requests import SubmitCommand
from quarterdeck.api.handlers.specs import SHELL, shell_payload
from quarterdeck.contracts.agent_calls import CATALOGUE, CatalogueCall
from quarterdeck.contracts.errors import AgentUnreachable, InvalidInput, InvalidTimeout
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import CommandView
from quarterdeck.web.fates import error_of

T = TypeVar("T")

MAX_WAIT_S: Final = 300
"""As of `?wait=`."""


def run_command(agent_id: str, asked: RunOnAgent) -> SubmitCommand:
    """What to submit. Raises ExactlyOneOf, InvalidInput."""
    if (asked.command is None) == (asked.ident is None):
        raise ExactlyOneOf("command", "ident")
    if asked.command is not None:
        for field in ("params", "linux_ns_pid"):
            if getattr(asked, field) is not None:
                raise InvalidInput(f"{field}: belongs to ident, not to command", field=field)
        payload = shell_payload(asked.command)
        return SubmitCommand(client_id=agent_id, command_type=SHELL, payload=msgspec.Raw(payload))
    call = CatalogueCall(ident=asked.ident or "", params=asked.params or {}, linux_ns_pid=asked.linux_ns_pid)
    raw = msgspec.Raw(msgspec.json.encode(call))
    return SubmitCommand(client_id=agent_id, command_type=CATALOGUE, payload=raw)


def question(agent_id: str, command_type: str, wait_s: float) -> SubmitCommand:
    """A call without parameters whose answer interests nobody once `wait_s` are over."""
    return SubmitCommand(
        client_id=agent_id, command_type=command_type, payload=msgspec.Raw(b"{}"), timeout=wait_s
    )


def wait_of(asked: RunOnAgent, default_s: float) -> float:
    """Raises InvalidTimeout."""
    if asked.timeout is None:
        return default_s
    if not 0 < asked.timeout <= MAX_WAIT_S:
        raise InvalidTimeout(
            f"timeout: expected more than 0 and at most {MAX_WAIT_S} seconds",
            field="timeout",
            value=asked.timeout,
        )
    return asked.timeout


def check_ran(view: CommandView, waited_s: float) -> None:
    """Returns when the command ran to an end of its own, good or bad.

    Raises CallTimedOut, AgentUnreachable, AgentFailed (S1-18).
    """
    match view.state:
        case S.SUCCEEDED | S.TERMINATED:
            return
        case S.FAILED if view.exit_code is not None or view.signal is not None:
            return
        case S.UNREACHABLE:
            raise AgentUnreachable(view.target, view.command_id)
        case S.FAILED | S.REJECTED | S.OUTCOME_UNKNOWN | S.EXPIRED | S.SKIPPED:
            raise AgentFailed(view.command_id, view.state, view.reason or "", error_of(view))
        case _:
            raise CallTimedOut(view.command_id, waited_s)


def answer_of(view: CommandView, waited_s: float, kind: type[T]) -> T:
    """The result of a call that has one. Raises as `check_ran`; AgentFailed for a result that is no `kind`."""
    check_ran(view, waited_s)
    if view.state is not S.SUCCEEDED:
        raise AgentFailed(view.command_id, view.state, view.reason or "", error_of(view))
    try:
        return msgspec.json.decode(view.result or "null", type=kind)
    except msgspec.DecodeError as error:
        text = f"the agent's answer makes no sense: {error}"
        raise AgentFailed(view.command_id, view.state, "invalid_result", text) from error
