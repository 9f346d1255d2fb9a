"""The seam between the client and the wire: a burst of requests goes out, as many answers come back.

Implementations: socket_channel.py (QEMU's socket, or qemu-ga's own) and libvirt_channel.py. A channel knows no timeouts
and no turns; qga.py does: it calls one method at a time, and cancels it when the time is over.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from quarterdeck.machines.errors import ProtocolViolation, Refused
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.qga.structures import Request

T = TypeVar("T")

_NOTHING: Final = msgspec.Raw(b"null")


class Answer(NamedTuple):
    """To one request: `result` is JSON; or the agent declined it."""

    guest: str
    result: msgspec.Raw
    refusal: Refused | None = None

    @classmethod
    def refused(cls, refusal: Refused) -> "Answer":
        return cls(refusal.guest, _NOTHING, refusal)

    def value(self, answer_type: type[T]) -> T:
        """Raises Refused, and ProtocolViolation when the result is of another shape."""
        if self.refusal is not None:
            raise self.refusal
        try:
            return msgspec.json.decode(self.result, type=answer_type)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolViolation(
                f"an answer of another shape: {error}", guest=self.guest, protocol=ProtocolType.QGA
            ) from None


def tell_late(requests: Sequence[Request], answers: Sequence[Answer]) -> None:
    """What the first of a burst were answered, when the rest of it was given up: nobody gets these answers."""
    for request, answer in zip(requests, answers, strict=False):
        if request.on_late is not None and answer.refusal is None:
            request.on_late(answer.result)


class Channel(Protocol):
    """One way to the agent of one guest."""

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None:
        """Connects, and makes sure that what comes next is for us. Raises ProtocolUnavailable, ConnectFailed."""
        ...

    async def exchange(self, requests: Sequence[Request], timeout_s: float) -> list[Answer]:
        """The answers, in order; each is for its request and for no other. Opens what ended, puts in order what is not.

        `timeout_s`: when the caller will cancel this, for a channel that has to say so in advance. A refusal of one
        request does not keep the others from being made. Raises ConnectFailed, ConnectionEnded, ProtocolViolation.
        """
        ...

    async def close(self) -> None:
        """Any number of calls; never raises."""
        ...
