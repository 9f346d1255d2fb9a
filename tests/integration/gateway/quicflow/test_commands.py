"""Commands on quicflow clients over real QUIC and NATS: the stand-alone sample client, every way of answering."""

import asyncio

import pytest

from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.orders import (
    GatewayTerminate,
    OrderAnswer,
    TerminateItem,
)
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.quicflow import (
    EVENT,
    SUCCESS,
    TIMEOUT,
    Answering,
)
from tests.integration.gateway.carriers import Station
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.quicflow.conftest import Connect, end_of, order


@pytest.mark.parametrize("answering", Answering)
async def test_command_runs_whichever_way_the_client_answers(
    gateway: Station, connect: Connect, aggregator: Aggregator, answering: Answering
) -> None:
    """S0-7, S0-10: record → DATA COMMAND → handler → answer → result."""
    caller = await connect(answering=answering)

    answer = await order(gateway, "a1", "c-1", "echo", b'{"delay_seconds": 5}')

    end = await end_of(aggregator, "c-1")
    assert answer is OrderAnswer.QUEUED
    assert (end.end, end.result.replace(b" ", b"")) == (CommandState.SUCCEEDED, b'{"delay_seconds":5}')
    assert [type(report) for report in aggregator.reports][:2] == [reports.Accepted, reports.Started]
    assert [sent.text(1) for sent in caller.orders] == ["c-1"]


async def test_failure_is_told_in_the_words_of_the_client(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """S0-12, S0-20"""
    await connect()

    await order(gateway, "a1", "c-1", "self_destruct")
    await order(gateway, "a1", "c-2", "restart", b'{"delay_seconds": -1}')

    unknown, invalid = await end_of(aggregator, "c-1"), await end_of(aggregator, "c-2")
    assert (unknown.end, unknown.error) == (CommandState.FAILED, "unknown command: self_destruct")
    assert (invalid.end, invalid.error) == (CommandState.FAILED, "invalid parameters: delay_seconds")


async def test_many_commands_run_at_once_and_none_waits_for_another(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """S0-31: more than a client has streams for, and clients that never end a stream."""
    first, second = await asyncio.gather(
        connect(ends_streams=False), connect(client_id="client-002", deaf=True)
    )
    stuck = await order(gateway, "a2", "stuck")

    await asyncio.gather(*(order(gateway, "a1", f"c-{number}", "echo", b"7") for number in range(300)))

    ends = [await end_of(aggregator, f"c-{number}") for number in range(300)]
    assert {end.end for end in ends} == {CommandState.SUCCEEDED}
    assert (len(first.orders), len(second.orders), stuck) == (300, 1, OrderAnswer.QUEUED)


async def test_what_the_wire_cannot_carry_is_rejected_before_anything_is_sent(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    caller = await connect()

    await order(gateway, "a1", "c-1", "shell", b'{"command": "true"}')

    await aggregator.wait(lambda found: any(isinstance(report, reports.Rejected) for report in found))
    [rejected] = aggregator.reports
    assert isinstance(rejected, reports.Rejected)
    assert rejected.reason == "unsupported_by_dialect"
    assert caller.orders == []


async def test_timeout_is_kept_for_a_client_that_never_answers(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """S0-19: the promise times out at the gateway; a late answer changes nothing."""
    caller = await connect(deaf=True)
    before = metrics.FENCED_MESSAGES.labels(Dialect.QUICFLOW)._value.get()

    await order(gateway, "a1", "c-1", timeout_ms=1)

    end = await end_of(aggregator, "c-1")
    assert end.end is CommandState.TIMED_OUT
    caller.say_ack("c-1", SUCCESS, b'{"late": true}')
    await eventually(lambda: metrics.FENCED_MESSAGES.labels(Dialect.QUICFLOW)._value.get() > before)


async def test_timeout_that_the_client_tells_is_one(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """S0-19"""
    caller = await connect(deaf=True)
    await order(gateway, "a1", "c-1")
    await eventually(lambda: caller.orders)

    caller.say_ack("c-1", TIMEOUT)

    end = await end_of(aggregator, "c-1")
    assert (end.end, end.error) == (CommandState.TIMED_OUT, "promise timeout")


async def test_terminate_abandons_the_command_and_says_so(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    caller = await connect(deaf=True)
    await order(gateway, "a1", "c-1")
    await eventually(lambda: caller.orders)

    item = TerminateItem(command_id="c-1", agent_id="a1", attempt=1, grace_ms=50)
    terminate = GatewayTerminate(tenant="acme", items=(item,))
    await gateway.ctx.bus.request(subjects.control(gateway.gateway_id), codec.encode(terminate))

    end = await end_of(aggregator, "c-1")
    assert (end.end, end.reason) == (CommandState.TERMINATED, "may_still_run")
    assert "may still run" in end.error


async def test_callback_is_counted_and_acknowledged(gateway: Station, connect: Connect) -> None:
    """S0-10: the callback of the source, beside the answer."""
    caller = await connect()
    before = metrics.DIALECT_EVENTS.labels(Dialect.QUICFLOW, "callback")._value.get()

    caller.say_callback("some-uuid", success=True, result={"ok": True})
    caller.say_message(EVENT, b'{"command_type": "report.status", "payload": {}}', wait_ack=True)

    await eventually(lambda: [ack.integer(2) for ack in caller.acks] == [SUCCESS])
    assert metrics.DIALECT_EVENTS.labels(Dialect.QUICFLOW, "callback")._value.get() == before + 1
