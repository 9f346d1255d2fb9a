"""Durable work: what a handler gets, and what becomes of a message whatever the handler does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import nats
import pytest

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.streams import COMMANDS, DEAD, REPORTS
from quarterdeck.core.bus import AckPolicy, Bus, ConsumerShape, Incoming, Outgoing, Retry, ensure_streams
from quarterdeck.embedded.nats_server import NatsServer
from tests.integration.bus.polling import until

SUBJECT = "qd.command.acme.normal"
SHAPE = ConsumerShape(stream=COMMANDS, durable="dispatcher-normal", filter="qd.command.*.normal")

Handler = Callable[[list[Incoming]], Awaitable[None]]


def shape(**changes: object) -> ConsumerShape:
    return msgspec.structs.replace(SHAPE, **changes)


class Recorder:
    """A handler that keeps what it got and may be told to fail."""

    def __init__(self) -> None:
        self.calls: list[list[Incoming]] = []
        self._arrived = asyncio.Condition()

    async def __call__(self, messages: list[Incoming]) -> None:
        self.calls.append(messages)
        async with self._arrived:
            self._arrived.notify_all()

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for call in self.calls for message in call]

    async def wait_for(self, count: int) -> None:
        async with self._arrived, asyncio.timeout(30):
            await self._arrived.wait_for(lambda: len(self.bodies) >= count)


class Consumption:
    """A consumer that runs in the background until `stop`."""

    def __init__(self, bus: Bus, consumer: ConsumerShape, handler: Handler) -> None:
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(bus.consume(consumer, handler, self._stopping))

    async def stop(self) -> None:
        self._stopping.set()
        await self._task


@pytest.fixture
async def consume() -> AsyncIterator[Callable[..., Consumption]]:
    running: list[Consumption] = []

    def start(bus: Bus, handler: Handler, consumer: ConsumerShape = SHAPE) -> Consumption:
        running.append(Consumption(bus, consumer, handler))
        return running[-1]

    yield start
    for consumption in running:
        await consumption.stop()


async def publish(bus: Bus, count: int, *, first: int = 0) -> None:
    await bus.publish_many([Outgoing(SUBJECT, str(first + number).encode()) for number in range(count)])


async def left(bus: Bus, stream: str = COMMANDS) -> int:
    return (await bus.stream_info(stream)).messages


async def test_everything_queued_comes_in_one_list(bus: Bus, consume: Callable[..., Consumption]) -> None:
    """Drain whatever is queued, on every hop."""
    await publish(bus, 1_200)
    handler = Recorder()

    consume(bus, handler, shape(max_batch=500))
    await handler.wait_for(1_200)

    assert handler.bodies == [str(number).encode() for number in range(1_200)]
    assert max(len(call) for call in handler.calls) <= 500
    assert len(handler.calls) < 100
    await until(lambda: _is_empty(bus))


async def _is_empty(bus: Bus) -> bool:
    return await left(bus) == 0


async def test_next_messages_arrive_while_the_handler_runs(
    bus: Bus, consume: Callable[..., Consumption]
) -> None:
    """The next pull is outstanding while the handler has a batch."""
    recorder, go_on = Recorder(), asyncio.Event()

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        await go_on.wait()

    consume(bus, handler, shape(max_batch=100))
    await publish(bus, 1)
    await recorder.wait_for(1)
    await publish(bus, 50, first=1)
    await until(lambda: _are_out(bus, 51))
    go_on.set()
    await recorder.wait_for(51)

    assert len(recorder.calls[1]) == 50


async def _are_out(bus: Bus, count: int) -> bool:
    facts = await bus.api.call(f"CONSUMER.INFO.{COMMANDS}.{SHAPE.durable}")
    return int(facts["num_ack_pending"]) == count


async def test_retry_delivers_all_again(bus: Bus, consume: Callable[..., Consumption]) -> None:
    """Transient → nak with back-off."""
    recorder = Recorder()

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        if messages[0].delivered == 1:
            raise Retry(0.05)

    await publish(bus, 3)
    consume(bus, handler)
    await recorder.wait_for(6)

    assert sorted(recorder.bodies) == [b"0", b"0", b"1", b"1", b"2", b"2"]
    await until(lambda: _is_empty(bus))


async def test_outage_behind_the_handler_uses_up_no_delivery(
    bus: Bus, consume: Callable[..., Consumption]
) -> None:
    """Redis away: the same messages are given again, and none comes nearer to the dead letters."""
    recorder = Recorder()

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        if len(recorder.calls) < 4:
            raise Unavailable("Redis is away")

    await publish(bus, 2)
    consume(bus, handler, shape(max_deliver=1))
    await until(lambda: _is_empty(bus))

    assert {message.delivered for call in recorder.calls for message in call} == {1}
    assert await left(bus, DEAD) == 0


async def test_bad_message_is_found_out_and_its_neighbours_are_done(
    bus: Bus, consume: Callable[..., Consumption]
) -> None:
    """A poison message is dead-lettered and takes nobody along."""
    done: set[bytes] = set()

    async def handler(messages: list[Incoming]) -> None:
        if any(message.body == b"3" for message in messages):
            raise ZeroDivisionError
        done.update(message.body for message in messages)

    await publish(bus, 10)
    consume(bus, handler, shape(max_deliver=2))
    await until(lambda: _is_empty(bus))

    assert done == {str(number).encode() for number in range(10)} - {b"3"}
    dead = [message async for batch in bus.read(DEAD, ["qd.dead.>"], follow=False) for message in batch]
    assert [message.body for message in dead] == [b"3"]
    assert dead[0].headers["Qd-Reason"] == "handler_failed"
    assert dead[0].headers["Qd-Subject"] == SUBJECT


async def test_policy_may_bury_after_one_failure(bus: Bus, consume: Callable[..., Consumption]) -> None:
    recorder = Recorder()

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        raise ZeroDivisionError

    await publish(bus, 1)
    consume(bus, handler, shape(policy=AckPolicy.ONCE_FAILED_DEAD))
    await until(lambda: _is_empty(bus))

    assert len(recorder.calls) == 1
    assert await left(bus, DEAD) == 1


async def test_policy_may_ack_before_the_handler(bus: Bus, consume: Callable[..., Consumption]) -> None:
    recorder = Recorder()

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        raise ZeroDivisionError

    await publish(bus, 1)
    consume(bus, handler, shape(policy=AckPolicy.BEFORE_HANDLER))
    await recorder.wait_for(1)
    await until(lambda: _is_empty(bus))

    assert await left(bus, DEAD) == 0


async def test_undecodable_message_goes_to_the_dead_letters(
    bus: Bus, consume: Callable[..., Consumption]
) -> None:
    """Undecodable → terminate + dead letter + metric."""

    async def handler(messages: list[Incoming]) -> None:
        for message in messages:
            if message.body == b"1":
                await bus.dead_letter(message, "decode_error")

    await publish(bus, 3)
    consume(bus, handler)
    await until(lambda: _is_empty(bus))

    dead = await bus.last_message(DEAD, f"qd.dead.{COMMANDS}")
    assert dead is not None
    assert (dead.body, dead.headers["Qd-Reason"]) == (b"1", "decode_error")


async def test_message_that_wore_out_its_deliveries_is_buried_unseen(
    bus: Bus, consume: Callable[..., Consumption]
) -> None:
    """What killed its consumers before is not given to another one."""
    recorder = Recorder()

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        raise Retry(0)

    await publish(bus, 1)
    consume(bus, handler, shape(max_deliver=3))
    await until(lambda: _is_empty(bus))

    assert [call[0].delivered for call in recorder.calls] == [1, 2, 3]
    dead = await bus.last_message(DEAD, f"qd.dead.{COMMANDS}")
    assert dead is not None
    assert dead.headers["Qd-Reason"] == "max_deliver"


async def test_long_handler_keeps_its_messages(
    bus: Bus, shared_nats_url: str, consume: Callable[..., Consumption]
) -> None:
    """A handler may take longer than ack_wait: in-progress acks keep the message from others."""
    recorder = Recorder()
    spy = await nats.connect(shared_nats_url)
    in_progress = await spy.subscribe("$JS.ACK.>")
    ack_wait_s = 0.6

    async def handler(messages: list[Incoming]) -> None:
        await recorder(messages)
        for _ in range(5):  # a third of ack_wait apart
            assert (await in_progress.next_msg(timeout=10)).data == b"+WPI"

    await publish(bus, 1)
    consume(bus, handler, shape(ack_wait_s=ack_wait_s))
    await until(lambda: _is_empty(bus))

    assert [message.delivered for call in recorder.calls for message in call] == [1]
    await spy.close()


async def test_stopping_gives_back_what_was_not_handled(
    bus: Bus, consume: Callable[..., Consumption]
) -> None:
    """A drained replica hands its queue to the others at once, not after ack_wait."""
    first, second, go_on = Recorder(), Recorder(), asyncio.Event()

    async def slow(messages: list[Incoming]) -> None:
        await first(messages)
        await go_on.wait()

    await publish(bus, 30)
    consumption = consume(bus, slow, shape(max_batch=10, ack_wait_s=3600))
    await first.wait_for(10)
    stopped = asyncio.create_task(consumption.stop())
    go_on.set()
    await stopped
    consume(bus, second, shape(max_batch=10, ack_wait_s=3600))
    await until(lambda: _is_empty(bus))

    assert len(first.bodies) + len(second.bodies) == 30
    assert len(set(first.bodies + second.bodies)) == 30


async def test_two_replicas_share_the_work(
    bus: Bus, shared_nats_url: str, consume: Callable[..., Consumption]
) -> None:
    """More replicas of any service is always safe."""
    other = await Bus.connect(shared_nats_url, name="other")
    first, second = Recorder(), Recorder()
    consume(bus, first, shape(max_batch=5))
    consumption = consume(other, second, shape(max_batch=5))

    await publish(bus, 1_000)
    await until(lambda: _is_empty(bus))

    assert sorted(first.bodies + second.bodies) == sorted(str(number).encode() for number in range(1_000))
    await consumption.stop()
    await other.close()


async def test_consumer_goes_on_after_a_kill_of_the_server(
    own_bus: Bus, nats_server: NatsServer, consume: Callable[..., Consumption]
) -> None:
    handler = Recorder()
    consume(own_bus, handler)
    await publish(own_bus, 5)
    await handler.wait_for(5)

    await nats_server.kill()
    await nats_server.start()
    await publish(own_bus, 5, first=5)
    await handler.wait_for(10)

    assert set(handler.bodies) == {str(number).encode() for number in range(10)}


async def test_consumer_goes_on_after_a_freeze_of_the_server(
    own_bus: Bus, nats_server: NatsServer, consume: Callable[..., Consumption]
) -> None:
    handler = Recorder()
    consume(own_bus, handler)
    await publish(own_bus, 1)
    await handler.wait_for(1)

    nats_server.pause()
    await until(lambda: _is_down(own_bus))
    nats_server.resume()
    await publish(own_bus, 1, first=1)
    await handler.wait_for(2)

    assert handler.bodies[-1] == b"1"


async def _is_down(bus: Bus) -> bool:
    return not bus.healthy


@pytest.mark.parametrize("deleted", ["consumer", "stream"])
async def test_consumer_goes_on_after_its_deletion(
    bus: Bus, consume: Callable[..., Consumption], deleted: str
) -> None:
    """Streams that came back empty are consumed as soon as they exist."""
    handler = Recorder()
    consume(bus, handler)
    await publish(bus, 1)
    await handler.wait_for(1)

    if deleted == "stream":
        await bus.api.call(f"STREAM.DELETE.{COMMANDS}")
        await ensure_streams(bus)
    else:
        await bus.api.call(f"CONSUMER.DELETE.{COMMANDS}.{SHAPE.durable}")
    await publish(bus, 1, first=1)
    await until(lambda: _is_empty(bus))

    # The ack of the first one may have crossed the deletion: then it comes again.
    assert handler.bodies[-1] == b"1"


async def test_consumer_waits_for_a_stream_that_is_not_there_yet(
    shared_nats_url: str, consume: Callable[..., Consumption]
) -> None:
    bus = await Bus.connect(shared_nats_url, name="early")
    handler = Recorder()
    consumption = consume(
        bus, handler, ConsumerShape(stream=REPORTS, durable="aggregator", filter="qd.report.>")
    )

    await ensure_streams(bus)
    await bus.publish(Outgoing("qd.report.acme.g1", b"1"))
    await handler.wait_for(1)

    await consumption.stop()
    await bus.close()
