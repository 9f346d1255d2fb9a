"""Publishing into a stream: order, fences, retries, outages."""

import asyncio

import pytest

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, MessageTooLarge, Outgoing, WrongLastSequence
from quarterdeck.embedded.nats_server import NatsServer

SUBJECT = "qd.event.acme._.c1.command.sent"


def messages(count: int) -> list[Outgoing]:
    return [Outgoing(SUBJECT, str(number).encode()) for number in range(count)]


async def test_burst_is_stored_in_order_and_acked_in_order(bus: Bus) -> None:
    """Publishing waits for acks in windows; here five windows."""
    acks = await bus.publish_many(messages(5_000), timeout_s=30)

    assert [ack.sequence for ack in acks] == list(range(1, 5_001))
    bodies = [
        message.body async for batch in bus.read(FEED, ["qd.event.>"], follow=False) for message in batch
    ]
    assert bodies == [str(number).encode() for number in range(5_000)]


async def test_same_msg_id_is_stored_once(bus: Bus) -> None:
    """S3-9: the outbox relays with the event id as Nats-Msg-Id, so twice is once."""
    first = await bus.publish(Outgoing(SUBJECT, b"1", msg_id="event-1"))
    second = await bus.publish(Outgoing(SUBJECT, b"1", msg_id="event-1"))

    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.sequence == first.sequence


async def test_fenced_publish_that_lost_tells_the_actual_sequence(bus: Bus) -> None:
    await bus.publish(Outgoing(SUBJECT, b"1", expected_last_subject_sequence=0))

    with pytest.raises(WrongLastSequence) as caught:
        await bus.publish(Outgoing(SUBJECT, b"2", expected_last_subject_sequence=0))

    assert (caught.value.expected, caught.value.actual) == (0, 1)
    assert (await bus.publish(Outgoing(SUBJECT, b"2", expected_last_subject_sequence=1))).sequence == 2


async def test_subject_of_no_stream_ends_as_unavailable(bus: Bus) -> None:
    with pytest.raises(Unavailable, match="no stream answers"):
        await bus.publish(Outgoing("qd.nothing.here", b""), timeout_s=0.3)


async def test_message_over_the_servers_limit_is_refused_before_it_is_sent(bus: Bus) -> None:
    with pytest.raises(MessageTooLarge) as caught:
        await bus.publish_many([*messages(3), Outgoing(SUBJECT, bytes(2_000_000))])

    assert caught.value.size_bytes == 2_000_000
    assert (await bus.stream_info(FEED)).messages == 3


@pytest.mark.parametrize(
    "subject", ["qd.event.a b", "qd.event.>", "qd.event.*.x", "", "qd.event.a\r\nPUB x 0"]
)
async def test_subject_that_is_none_is_refused_and_the_bus_goes_on(bus: Bus, subject: str) -> None:
    with pytest.raises(ValueError, match="no subject"):
        await bus.publish(Outgoing(subject, b""))

    assert (await bus.publish(Outgoing(SUBJECT, b""))).sequence == 1


async def test_publish_during_a_freeze_of_the_server_is_stored_once(
    own_bus: Bus, nats_server: NatsServer
) -> None:
    """A publish that got no answer may have arrived; the retry has the same Nats-Msg-Id."""
    nats_server.pause()
    futures = [own_bus.publish_soon(outgoing, timeout_s=30) for outgoing in messages(50)]
    await client_given_up(own_bus)
    nats_server.resume()

    acks = await asyncio.gather(*futures)

    assert len({ack.sequence for ack in acks}) == 50
    assert (await own_bus.stream_info(FEED)).messages == 50


async def test_publish_survives_a_kill_and_restart_of_the_server(
    own_bus: Bus, nats_server: NatsServer
) -> None:
    await nats_server.kill()
    futures = [own_bus.publish_soon(outgoing, timeout_s=30) for outgoing in messages(10)]

    await nats_server.start()

    assert len(await asyncio.gather(*futures)) == 10
    assert own_bus.healthy


async def test_publish_without_server_ends_as_unavailable_in_time(
    own_bus: Bus, nats_server: NatsServer
) -> None:
    await nats_server.kill()

    with pytest.raises(Unavailable):
        await own_bus.publish_many(messages(10), timeout_s=0.3)

    assert not own_bus.healthy
    assert own_bus.trouble


async def test_closing_the_bus_ends_what_is_under_way(own_bus: Bus, nats_server: NatsServer) -> None:
    await nats_server.kill()
    future = own_bus.publish_soon(messages(1)[0], timeout_s=600)

    await own_bus.close()

    with pytest.raises(Unavailable, match="closed"):
        await future


def client_given_up(bus: Bus) -> asyncio.Future[None]:
    """Resolves when the watchdog has given up the frozen client."""
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle() -> None:
        if not lost.done():
            lost.set_result(None)

    bus._connection.on_lost(settle)
    return lost
