"""Whether the aggregator has read what agents said: before that, nobody may say that the end of a command is unknown.

Owns a mark in QD_REPORTS, nothing else. Called by attention.py for commands that are past their deadline.
"""

from quarterdeck.contracts import streams
from quarterdeck.core.bus import Bus


class Reading:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._mark: int | None = None
        """The newest report at the last look that was not answered yes."""

    async def caught_up(self) -> bool:
        """Everything that was reported before the look before this one is applied. Raises Unavailable.

        Under load the stream is never empty: the first look sets a mark, a later one finds that it was passed. No
        clock is asked, so those of the machines may differ.
        """
        facts = await self._bus.stream_info(streams.REPORTS)
        passed = self._mark is not None and facts.first_sequence > self._mark
        if facts.messages == 0 or passed:
            self._mark = None
            return True
        if self._mark is None:
            self._mark = facts.last_sequence
        return False
