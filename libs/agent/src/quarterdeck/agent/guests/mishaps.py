"""What becomes of a command when its guest, or the way to it, fails: a stable reason, and whether it may have run.

Pure. The one question is whether anything had reached the guest: before that a failure is a failure, and after it only
an answer tells what became of the command. Called by execution.py and calls.py.
"""

from typing import NamedTuple

from quarterdeck.machines.errors import GuestPaused, MachineError, NotSupported, Refused, UnknownKey
from quarterdeck.wire.codes import ResultReason


class Mishap(NamedTuple):
    reason: ResultReason
    unknown: bool
    """It may have had an effect: outcome_unknown; else failed."""


def not_reached(error: MachineError) -> Mishap:
    """`error`: of the time before anything was said to the guest."""
    paused = isinstance(error, GuestPaused)
    return Mishap(ResultReason.GUEST_PAUSED if paused else ResultReason.GUEST_UNREACHABLE, unknown=False)


def while_asked(error: MachineError, *, harmless: bool = False) -> Mishap:
    """`error`: of the time when the guest, or its QEMU, had it. `harmless`: it changes nothing, so all is known."""
    match error:
        case Refused():
            return Mishap(ResultReason.GUEST_REFUSED, unknown=False)
        case UnknownKey() | NotSupported():
            return Mishap(ResultReason.INVALID_PAYLOAD, unknown=False)
        case _ if harmless or error.retryable:
            return not_reached(error)
        case _:
            return Mishap(ResultReason.GUEST_LOST, unknown=True)
