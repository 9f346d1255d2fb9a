"""How a caller waits for what it published: one future for one message, or one future for many.

Used by bus.py; told by publisher.py.
"""

import asyncio

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.messages import Ack


class Single:
    """One message."""

    def __init__(self) -> None:
        self.acked: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()

    def settle(self, _index: int, outcome: Ack | Exception) -> None:
        if self.acked.done():  # the caller gave up
            return
        if isinstance(outcome, Ack):
            self.acked.set_result(outcome)
        else:
            self.acked.set_exception(outcome)


class Many:
    """`size` messages that were submitted together."""

    def __init__(self, size: int) -> None:
        self._outcomes: list[Ack | None] = [None] * size
        self._left = size
        self._error: Exception | None = None
        self._all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, index: int, outcome: Ack | Exception) -> None:
        if isinstance(outcome, Ack):
            self._outcomes[index] = outcome
        elif self._error is None or isinstance(self._error, Unavailable):
            # What cannot be repaired by trying again says more than what can.
            self._error = outcome
        self._left -= 1
        if self._left == 0 and not self._all.done():
            self._all.set_result(None)

    async def acks(self) -> list[Ack]:
        """In the order of the messages. Raises the first error, after every message has ended."""
        await self._all
        if self._error is not None:
            raise self._error
        return [ack for ack in self._outcomes if ack is not None]
