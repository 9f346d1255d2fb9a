"""How the ends of published messages come together."""

import asyncio

import pytest

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.bursts import Many, Single
from quarterdeck.core.bus.errors import WrongLastSequence
from quarterdeck.core.bus.messages import Ack


async def test_acks_come_in_the_order_of_the_messages() -> None:
    burst = Many(3)
    for index in (2, 0, 1):
        burst.settle(index, Ack("S", index))

    assert await burst.acks() == [Ack("S", 0), Ack("S", 1), Ack("S", 2)]


async def test_error_is_raised_only_when_every_message_has_ended() -> None:
    """Whoever decides what to do must know that nothing is still under way."""
    burst = Many(2)
    burst.settle(0, Unavailable("away"))
    waiting = asyncio.create_task(burst.acks())
    await asyncio.sleep(0)
    assert not waiting.done()

    burst.settle(1, Ack("S", 1))

    with pytest.raises(Unavailable):
        await waiting


async def test_error_that_no_retry_can_mend_is_the_one_that_is_raised() -> None:
    burst = Many(3)
    burst.settle(0, Unavailable("away"))
    burst.settle(1, WrongLastSequence("s", 1, 2))
    burst.settle(2, Unavailable("away"))

    with pytest.raises(WrongLastSequence):
        await burst.acks()


async def test_caller_that_gave_up_is_not_told() -> None:
    single = Single()
    single.acked.cancel()

    single.settle(0, Ack("S", 1))

    assert single.acked.cancelled()
