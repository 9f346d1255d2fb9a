"""How a command in a guest ended, as an Outcome. Pure; for execution.py."""

import msgspec

from quarterdeck.agent.executor.outcome import Outcome, StopOrder
from quarterdeck.agent.guests.mishaps import not_reached, while_asked
from quarterdeck.agent.guests.plans import GuestExecution
from quarterdeck.contracts.guests import QgaExecEnd
from quarterdeck.machines.errors import MachineError, NotSupported, Refused
from quarterdeck.machines.qga import GuestExecStatus
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ResultReason


def of_end(end: GuestExecStatus, plan: GuestExecution, order: StopOrder | None = None) -> Outcome:
    """All of its output was taken. `order`: it was told to end, and nothing of it is left."""
    reason: str
    if order is not None:
        state, reason, error = order.end, order.reason, ""
    elif end.exit_code == 0:
        state, reason, error = pb.SUCCEEDED, "", ""
    elif end.signal is not None:
        state, reason, error = pb.FAILED, ResultReason.SIGNAL, f"ended by signal {end.signal}"
    else:
        state, reason, error = pb.FAILED, "", f"exit code {end.exit_code}"
    return Outcome(
        end=state,
        reason=reason,
        exit_code=end.exit_code,
        signal=end.signal,
        error=error,
        result=_told(end) if plan.tells_end else b"",
    )


def not_started(error: MachineError, *, was_asked: bool) -> Outcome:
    """Its start went wrong. `was_asked`: the guest was told to start it, and may have."""
    mishap = (
        while_asked(error) if was_asked or isinstance(error, Refused | NotSupported) else not_reached(error)
    )
    end = pb.OUTCOME_UNKNOWN if mishap.unknown else pb.FAILED
    return Outcome(end=end, reason=mishap.reason, error=error.message)


def lost(error: MachineError) -> Outcome:
    """It had started, and the guest went away from it, or it from the guest."""
    return Outcome(end=pb.OUTCOME_UNKNOWN, reason=ResultReason.GUEST_LOST, error=error.message)


def unproven(why: str) -> Outcome:
    """It was told to end, and may not have."""
    return Outcome(end=pb.OUTCOME_UNKNOWN, reason=ResultReason.NOT_PROVEN, error=why)


def _told(end: GuestExecStatus) -> bytes:
    return msgspec.json.encode(
        QgaExecEnd(
            exit_code=end.exit_code,
            signal=end.signal,
            out_truncated=bool(end.out_truncated),
            err_truncated=bool(end.err_truncated),
        )
    )
