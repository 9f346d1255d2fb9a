"""Streams and buckets exist as the contracts describe them."""

import asyncio

import pytest

from quarterdeck.contracts.streams import AUDIT, BUCKETS, COMMANDS, FEED, LINKS, STATE, STREAMS
from quarterdeck.core.bus import ApiError, Bus, Outgoing, ensure_streams
from quarterdeck.core.bus.streams import bucket_stream
from tests.integration.bus.polling import until


async def test_all_streams_and_buckets_exist(bus: Bus) -> None:
    names = set((await bus.api.call("STREAM.NAMES"))["streams"])

    assert names == {shape.name for shape in STREAMS} | {bucket_stream(shape.name) for shape in BUCKETS}


async def test_several_services_may_ensure_them_at_once(shared_nats_url: str) -> None:
    buses = [await Bus.connect(shared_nats_url, name=f"service-{number}") for number in range(4)]

    await asyncio.gather(*(ensure_streams(bus) for bus in buses))

    assert (await buses[0].stream_info(FEED)).messages == 0
    for bus in buses:
        await bus.close()


async def test_stream_of_another_shape_is_updated(bus: Bus) -> None:
    config = (await bus.api.call(f"STREAM.INFO.{FEED}"))["config"]
    await bus.api.call(f"STREAM.UPDATE.{FEED}", {**config, "max_bytes": 1_000_000})

    await ensure_streams(bus)

    assert (await bus.api.call(f"STREAM.INFO.{FEED}"))["config"]["max_bytes"] == config["max_bytes"]


async def test_events_reach_the_state_stream_and_output_does_not(bus: Bus) -> None:
    """I12: QD_STATE sources the events alone, so output can never evict state."""
    await bus.publish(Outgoing("qd.output.acme._.c1.1.stdout", b"out"))
    await bus.publish(Outgoing("qd.event.acme._.c1.command.sent", b"event"))

    async def sourced() -> bool:
        return (await bus.stream_info(STATE)).messages == 1

    await until(sourced)
    assert await bus.last_message(STATE, "qd.event.acme._.c1.command.sent") is not None


async def test_work_queue_forgets_what_was_acked_only(bus: Bus) -> None:
    config = (await bus.api.call(f"STREAM.INFO.{COMMANDS}"))["config"]

    assert config["retention"] == "workqueue"


async def test_audit_can_be_neither_purged_nor_deleted(bus: Bus) -> None:
    """I10: every accepted or denied action stays in the audit log."""
    ack = await bus.publish(Outgoing("qd.audit.acme", b"1"))

    with pytest.raises(ApiError):
        await bus.api.call(f"STREAM.PURGE.{AUDIT}")
    with pytest.raises(ApiError):
        await bus.api.call(f"STREAM.MSG.DELETE.{AUDIT}", {"seq": ack.sequence})


async def test_last_message_of_a_subject(bus: Bus) -> None:
    subject = "qd.output.acme._.c1.1.stdout"
    assert await bus.last_message(FEED, subject) is None
    await bus.publish(Outgoing(subject, b"1", headers={"Qd-Offset": "0"}))
    ack = await bus.publish(Outgoing(subject, b"", headers={"Qd-Offset": "1"}))

    last = await bus.last_message(FEED, subject)

    assert last is not None
    assert (last.sequence, last.body, last.headers["Qd-Offset"]) == (ack.sequence, b"", "1")


async def test_stream_facts_tell_one_life_from_the_next(bus: Bus) -> None:
    before = await bus.stream_info(bucket_stream(LINKS))
    await bus.api.call(f"STREAM.DELETE.{bucket_stream(LINKS)}")
    await ensure_streams(bus)

    after = await bus.stream_info(bucket_stream(LINKS))

    assert after.created_ms > before.created_ms
