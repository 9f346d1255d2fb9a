"""Reading a stream in order: where it begins, where it ends, and that nothing is lost or repeated on the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, Outgoing, StoredMessage, StreamNotFound, StreamReplaced, ensure_streams
from quarterdeck.embedded.nats_server import NatsServer
from tests.integration.bus.polling import until

ALL = ["qd.event.>", "qd.output.>"]


def event(command: str, number: int) -> Outgoing:
    return Outgoing(f"qd.event.acme._.{command}.command.sent", str(number).encode())


async def publish(bus: Bus, count: int, *, first: int = 0, command: str = "c1") -> None:
    await bus.publish_many([event(command, first + number) for number in range(count)], timeout_s=30)


async def bodies(reading: AsyncIterator[list[StoredMessage]]) -> list[int]:
    return [int(message.body) async for batch in reading for message in batch]


async def first_of(reading: AsyncIterator[list[StoredMessage]], count: int) -> list[int]:
    got: list[int] = []
    async with asyncio.timeout(30):
        async for batch in reading:
            got.extend(int(message.body) for message in batch)
            if len(got) >= count:
                return got
    return got


async def test_reading_ends_at_the_last_sequence_as_of_the_call(bus: Bus) -> None:
    await publish(bus, 1_100)
    reading = bus.read(FEED, ALL, follow=False, batch=100)
    got = [int(message.body) for message in await anext(reading)]
    await publish(bus, 50, first=1_100)

    got += await bodies(reading)

    assert got == list(range(1_100))


@pytest.mark.parametrize("filters", [ALL, ["qd.event.other.>"], []])
async def test_reading_an_empty_stream_ends_at_once(bus: Bus, filters: Sequence[str]) -> None:
    assert await bodies(bus.read(FEED, filters, follow=False)) == []


async def test_reading_what_nobody_wrote_ends_at_once(bus: Bus) -> None:
    await publish(bus, 10)

    assert await bodies(bus.read(FEED, ["qd.event.nobody.>"], follow=False)) == []


async def test_several_filters_give_one_sequence(bus: Bus) -> None:
    """One sequence for a watcher; events and output share QD_FEED."""
    await bus.publish(event("c1", 0))
    await bus.publish(Outgoing("qd.output.acme._.c1.1.stdout", b"1"))
    await bus.publish(event("c2", 99))
    await bus.publish(event("c1", 2))

    got = await bodies(bus.read(FEED, ["qd.event.acme._.c1.>", "qd.output.acme._.c1.>"], follow=False))

    assert got == [0, 1, 2]


async def test_reading_begins_at_the_given_sequence(bus: Bus) -> None:
    """I5: a watcher that resumes sees exactly the events after what it saw."""
    await publish(bus, 10)

    assert await bodies(bus.read(FEED, ALL, start_sequence=8, follow=False)) == [7, 8, 9]
    assert await bodies(bus.read(FEED, ALL, start_sequence=11, follow=False)) == []


async def test_reading_the_last_of_each_subject(bus: Bus) -> None:
    for number in range(3):
        await bus.publish(event("c1", number))
        await bus.publish(event("c2", 10 + number))

    assert await bodies(bus.read(FEED, ALL, deliver="last_per_subject", follow=False)) == [2, 12]


async def test_following_new_messages_skips_old_ones(bus: Bus) -> None:
    await publish(bus, 5)
    reading = bus.read(FEED, ALL, deliver="new", follow=True)
    following = asyncio.create_task(first_of(reading, 3))
    await until(lambda: _has_consumers(bus, 1))

    await publish(bus, 3, first=5)

    assert await following == [5, 6, 7]


async def test_following_goes_through_a_restart_of_the_server(own_bus: Bus, nats_server: NatsServer) -> None:
    await publish(own_bus, 100)
    reading = own_bus.read(FEED, ALL, follow=True, batch=30)
    got = await first_of(reading, 60)

    await nats_server.kill()
    await nats_server.start()
    await publish(own_bus, 100, first=100)
    got += await first_of(reading, 200 - len(got))

    assert got == list(range(200))


async def test_reading_with_an_end_does_not_wait_for_ever(own_bus: Bus, nats_server: NatsServer) -> None:
    """NATS away: requests never hang."""
    await publish(own_bus, 100)
    reading = own_bus.read(FEED, ALL, follow=False, batch=10)
    await anext(reading)

    await nats_server.kill()

    with pytest.raises(Unavailable):
        await bodies(reading)


async def test_following_goes_through_the_loss_of_its_consumer(bus: Bus) -> None:
    await publish(bus, 10)
    reading = bus.read(FEED, ALL, follow=True)
    got = await first_of(reading, 10)

    for name in (await bus.api.call(f"CONSUMER.NAMES.{FEED}"))["consumers"]:
        await bus.api.call(f"CONSUMER.DELETE.{FEED}.{name}")
    await publish(bus, 10, first=10)
    got += await first_of(reading, 10)

    assert got == list(range(20))


async def test_following_a_stream_that_was_made_anew_says_so(bus: Bus) -> None:
    """Sequences of a former life mean nothing: the reader must start over (SSE: resync)."""
    await publish(bus, 3)
    reading = bus.read(FEED, ALL, follow=True)
    await first_of(reading, 3)

    await bus.api.call(f"STREAM.DELETE.{FEED}")
    await ensure_streams(bus)

    with pytest.raises(StreamReplaced):
        await anext(reading)


async def test_reading_a_stream_that_is_not_there(bus: Bus) -> None:
    with pytest.raises(StreamNotFound):
        await anext(bus.read("QD_NOTHING", [], follow=True))


async def test_reader_that_stops_reading_is_sent_no_more(bus: Bus) -> None:
    """I9: memory per watcher is bounded."""
    await publish(bus, 2_000)
    reading = bus.read(FEED, ALL, follow=False, batch=100)
    await anext(reading)
    await until(lambda: _delivered(bus, 200))

    await bus.stream_info(FEED)  # a round trip in which more would have come

    assert await _highest_delivered(bus) <= 300
    assert (await bodies(reading))[-1] == 1_999


async def test_large_messages_are_bounded_by_bytes(bus: Bus) -> None:
    """I9: a pull brings no more than 4 MiB, whatever the batch."""
    for _ in range(40):
        await bus.publish(Outgoing("qd.output.acme._.c1.1.stdout", bytes(512 * 1024)))
    reading = bus.read(FEED, ALL, follow=False, batch=500)
    await anext(reading)

    await bus.stream_info(FEED)

    assert await _highest_delivered(bus) <= 17
    assert sum([len(batch) async for batch in reading]) > 0


async def test_abandoned_reading_leaves_no_consumer(bus: Bus) -> None:
    await publish(bus, 10)
    reading = bus.read(FEED, ALL, follow=True)
    await first_of(reading, 5)

    await reading.aclose()

    await until(lambda: _has_consumers(bus, 0))


async def test_ten_readers_read_at_once(bus: Bus) -> None:
    await publish(bus, 500)

    results = await asyncio.gather(*(bodies(bus.read(FEED, ALL, follow=False)) for _ in range(10)))

    assert results == [list(range(500))] * 10


async def _consumers(bus: Bus) -> list[dict[str, dict[str, int]]]:
    """Of QD_FEED, without the one that feeds QD_STATE."""
    answer = await bus.api.call(f"CONSUMER.LIST.{FEED}")
    return [consumer for consumer in answer["consumers"] or [] if not consumer["config"].get("direct")]


async def _has_consumers(bus: Bus, count: int) -> bool:
    return len(await _consumers(bus)) == count


async def _highest_delivered(bus: Bus) -> int:
    return max(consumer["delivered"]["consumer_seq"] for consumer in await _consumers(bus))


async def _delivered(bus: Bus, count: int) -> bool:
    return await _highest_delivered(bus) >= count
