"""When a command has run, or been silent, for too long."""

import asyncio
from collections.abc import Iterator

from quarterdeck.gateway.foreign.deadlines import Deadlines
from quarterdeck.wire.codes import ResultReason


class Due:
    """What became due, and a wait for it."""

    def __init__(self) -> None:
        self.reasons: list[ResultReason] = []
        self._news = asyncio.Event()

    def __call__(self, reason: ResultReason) -> None:
        self.reasons.append(reason)
        self._news.set()

    async def wait(self) -> None:
        async with asyncio.timeout(20):
            await self._news.wait()


async def test_timeout_becomes_due_once() -> None:
    """S4-29"""
    due = Due()

    Deadlines(1, 0, due=due, held_back=lambda: False)

    await due.wait()
    assert due.reasons == [ResultReason.EXECUTION]


async def test_silence_becomes_due() -> None:
    """S4-34"""
    due = Due()

    Deadlines(0, 1, due=due, held_back=lambda: False)

    await due.wait()
    assert due.reasons == [ResultReason.NO_OUTPUT]


async def test_silence_counts_from_the_last_output() -> None:
    """S4-34"""
    due, checks = Due(), 0

    def printed() -> bool:
        """Something came right before each of the first checks."""
        nonlocal checks
        checks += 1
        if checks <= 3:
            deadlines.heard()
        return False

    deadlines = Deadlines(0, 100, due=due, held_back=printed)

    await due.wait()
    assert checks > 3


async def test_agent_that_we_do_not_read_is_not_silent() -> None:
    """S4-34, S4-35"""
    due = Due()
    held: Iterator[bool] = iter([True, True, True])

    Deadlines(0, 1, due=due, held_back=lambda: next(held, False))

    await due.wait()
    assert list(held) == []


async def test_nothing_becomes_due_after_the_end() -> None:
    due, later = Due(), Due()
    deadlines = Deadlines(1, 1, due=due, held_back=lambda: False)

    deadlines.cancel()

    Deadlines(2, 0, due=later, held_back=lambda: False)
    await later.wait()
    assert due.reasons == []
