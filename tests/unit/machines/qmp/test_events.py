import asyncio
import gc

import pytest

from quarterdeck.machines.errors import ConnectionEnded
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.qmp.events import CAPACITY, EventStreams
from quarterdeck.machines.qmp.messages import QmpEvent

_GONE = ConnectionEnded("QEMU went away", guest="vm1", protocol=ProtocolType.QMP)


def _event(number: int) -> QmpEvent:
    return QmpEvent(event="STOP", members={"number": number}, at_s=float(number))


async def test_every_stream_gets_every_event_in_order() -> None:
    """S2-8"""
    streams = EventStreams()
    first, second = streams.open(), streams.open()
    for number in range(3):
        streams.put(_event(number))

    assert [(await anext(first)).at_s for _ in range(3)] == [0, 1, 2]
    assert [(await anext(second)).at_s for _ in range(3)] == [0, 1, 2]


async def test_a_reader_waits_for_the_next_event() -> None:
    streams = EventStreams()
    stream = streams.open()
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)

    streams.put(_event(7))

    assert (await reader).at_s == 7


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    """S2-25F"""
    streams = EventStreams()
    stream = streams.open()
    for number in range(CAPACITY + 5):
        streams.put(_event(number))

    first, second = await anext(stream), await anext(stream)

    assert (first.at_s, first.lost) == (5, 5)
    assert (second.at_s, second.lost) == (6, 0)


async def test_a_stream_ends_after_what_waits_was_read() -> None:
    streams = EventStreams()
    stream = streams.open()
    streams.put(_event(1))
    streams.end(None)

    assert [event.at_s async for event in stream] == [1]


async def test_a_stream_tells_that_the_other_side_ended_it() -> None:
    """S2-25F"""
    streams = EventStreams()
    stream = streams.open()
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)

    streams.end(_GONE)

    with pytest.raises(ConnectionEnded):
        await reader
    with pytest.raises(ConnectionEnded):
        await anext(stream)


async def test_a_stream_that_nobody_holds_costs_nothing() -> None:
    streams = EventStreams()
    kept = streams.open()
    streams.open()
    gc.collect()

    assert len(streams) == 1
    del kept
