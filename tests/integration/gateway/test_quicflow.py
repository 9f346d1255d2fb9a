"""quicflow clients over real QUIC and NATS: the stand-alone sample client against the gateway's service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import LEASE_MS, Carrier, Epoch, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import (
    GatewayOrder,
    GatewayOrders,
    GatewayTerminate,
    OrderAnswer,
    OrderAnswers,
    TerminateItem,
)
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import gateway_key, link_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.quicflow import MAX_FRAME_BYTES
from tests.conformance.agents.quicflow import (
    ACK,
    DATA,
    EVENT,
    FAILURE,
    PING,
    SUCCESS,
    TIMEOUT,
    Answering,
    ClientOptions,
    NotAccepted,
    SampleClient,
)
from tests.conformance.handpacked import text
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator

_answers: codec.Decoder[OrderAnswers] = codec.Decoder(OrderAnswers)

Connect = Callable[..., Awaitable[SampleClient]]


@pytest.fixture
async def gateway(bus: Bus, tmp_path: Path) -> AsyncIterator[Station]:
    async with station(bus, Carrier.QUIC, tmp_path) as running:
        for number in (1, 2):
            record = AgentRecord(
                tenant="acme",
                agent_id=f"a{number}",
                name=f"a{number}",
                aliases={Dialect.QUICFLOW: f"client-00{number}"},
            )
            await ForeignAgents(running.ctx.registry).register(record, b"")
        yield running


@pytest.fixture
async def client(gateway: Station) -> AsyncIterator[Callable[..., SampleClient]]:
    """Makes clients; they hang up when the test ends."""
    made: list[SampleClient] = []

    def make(**options: object) -> SampleClient:
        address = f"127.0.0.1:{gateway.address.port}"
        made.append(SampleClient(address, gateway.ca_pem, ClientOptions(**options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    await asyncio.gather(
        *(each.close() for each in made if hasattr(each, "_protocol")), return_exceptions=True
    )


@pytest.fixture
def connect(gateway: Station, client: Callable[..., SampleClient]) -> Connect:
    """Clients with a link that the registry knows."""

    async def call(**options: object) -> SampleClient:
        caller = await client(**options).connect()
        await eventually(lambda: linked(gateway, agent_of(caller)) is not None)
        return caller

    return call


def agent_of(caller: SampleClient) -> str:
    return caller.options.client_id.replace("client-00", "a")


def linked(gateway: Station, agent_id: str) -> LinkRecord | None:
    entry = gateway.ctx.registry.links.current.get(link_key("acme", agent_id))
    return entry.value if entry is not None and entry.value.ended_at_ms is None else None


def ended(gateway: Station, agent_id: str) -> LinkEnd | None:
    entry = gateway.ctx.registry.links.current.get(link_key("acme", agent_id))
    return None if entry is None else entry.value.end


async def order(
    gateway: Station,
    agent_id: str,
    command_id: str,
    command_type: str = "restart",
    payload: bytes = b"{}",
    timeout_ms: int = 60_000,
    attempt: int = 1,
) -> OrderAnswer:
    """What a dispatcher does."""
    registry = gateway.ctx.registry
    revision = registry.links.current[link_key("acme", agent_id)].revision
    item = GatewayOrder(
        command_id=command_id,
        agent_id=agent_id,
        attempt=attempt,
        epoch=Epoch(registry.links.incarnation, revision),
        timeout_ms=timeout_ms,
    )
    spec = CommandSpec(command_type=command_type, payload=payload, grace_ms=50)
    orders = GatewayOrders(tenant="acme", spec=spec, orders=(item,))
    raw = await gateway.ctx.bus.request(subjects.order(gateway.gateway_id), codec.encode(orders))
    [answer] = _answers.decode(raw).answers
    return answer


async def end_of(aggregator: Aggregator, command_id: str) -> reports.Result:
    def ends() -> list[reports.Result]:
        return [
            report
            for report in aggregator.reports
            if isinstance(report, reports.Result) and report.command_id == command_id
        ]

    await aggregator.wait(lambda _: bool(ends()))
    [end] = ends()
    return end


async def test_client_is_linked_under_its_agent_id(gateway: Station, connect: Connect) -> None:
    """S0-14: QUIC, ALPN quic-backbone-v1, on the port of our own agents."""
    caller = await connect()

    record = linked(gateway, "a1")
    assert record is not None
    assert (record.carrier, record.dialect) == (Carrier.QUIC, Dialect.QUICFLOW)
    assert caller.server_time_ms > 0


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


async def test_client_that_goes_away_leaves_its_commands_unknown_and_may_come_back(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """S0-36, S0-37: unfinished commands end; after a reconnect they may be sent again."""
    first = await connect(deaf=True)
    await order(gateway, "a1", "c-1")
    await eventually(lambda: first.orders)

    await first.close()

    assert (await end_of(aggregator, "c-1")).end is CommandState.OUTCOME_UNKNOWN
    await eventually(lambda: ended(gateway, "a1"))
    second = await connect()
    await order(gateway, "a1", "c-1", "echo", b"1", attempt=2)
    await eventually(lambda: any(_succeeded(report) for report in aggregator.reports))
    assert [sent.text(1) for sent in second.orders] == ["c-1.2"]


def _succeeded(report: reports.Report) -> bool:
    return isinstance(report, reports.Result) and report.end is CommandState.SUCCEEDED


async def test_answer_to_another_clients_command_is_fenced(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    victim, liar = await connect(deaf=True), await connect(client_id="client-002")
    before = metrics.FENCED_MESSAGES.labels(Dialect.QUICFLOW)._value.get()
    await order(gateway, "a1", "c-1")
    await eventually(lambda: victim.orders)

    liar.say_ack("c-1", SUCCESS, b'"stolen"')

    await eventually(lambda: metrics.FENCED_MESSAGES.labels(Dialect.QUICFLOW)._value.get() > before)
    victim.say_ack("c-1", FAILURE, error="mine")
    assert (await end_of(aggregator, "c-1")).error == "mine"


async def test_callback_is_counted_and_acknowledged(gateway: Station, connect: Connect) -> None:
    """S0-10: the callback of the source, beside the answer."""
    caller = await connect()
    before = metrics.DIALECT_EVENTS.labels(Dialect.QUICFLOW, "callback")._value.get()

    caller.say_callback("some-uuid", success=True, result={"ok": True})
    caller.say_message(EVENT, b'{"command_type": "report.status", "payload": {}}', wait_ack=True)

    await eventually(lambda: [ack.integer(2) for ack in caller.acks] == [SUCCESS])
    assert metrics.DIALECT_EVENTS.labels(Dialect.QUICFLOW, "callback")._value.get() == before + 1


async def test_heartbeats_are_answered(gateway: Station, connect: Connect) -> None:
    caller = await connect(heartbeat_s=0.05)

    await eventually(lambda: caller.pongs > 3)
    assert not caller.ended.is_set()


async def test_client_that_is_already_connected_keeps_its_link(
    gateway: Station, connect: Connect, client: Callable[..., SampleClient], aggregator: Aggregator
) -> None:
    """The newer one is turned away with code 1; five at once get one link."""
    older = await connect()

    refused = await asyncio.gather(*(client().connect() for _ in range(4)), return_exceptions=True)

    assert [refusal.code for refusal in refused if isinstance(refusal, NotAccepted)] == [1] * 4
    await order(gateway, "a1", "c-1", "echo", b"1")
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
    assert not older.ended.is_set()


@pytest.mark.parametrize(("age_ms", "accepted"), [(0, False), (LEASE_MS * 2, True)], ids=["alive", "dead"])
async def test_link_on_another_gateway_counts_while_that_gateway_lives(
    gateway: Station, client: Callable[..., SampleClient], age_ms: int, accepted: bool
) -> None:
    registry, now_ms = gateway.ctx.registry, gateway.ctx.clock.now_ms()
    lease = GatewayLease(gateway_id="other", carrier=Carrier.QUIC, renewed_at_ms=now_ms - age_ms)
    elsewhere = LinkRecord(
        tenant="acme",
        agent_id="a1",
        gateway_id="other",
        carrier=Carrier.QUIC,
        dialect=Dialect.QUICFLOW,
        since_ms=now_ms,
    )
    await registry.gateways.put(gateway_key("other"), lease)
    await registry.links.put(link_key("acme", "a1"), elsewhere)
    await eventually(lambda: linked(gateway, "a1") is not None)

    caller = client()
    if accepted:
        await caller.connect()
    else:
        with pytest.raises(NotAccepted):
            await caller.connect()


@pytest.mark.parametrize("client_id", ["", "client-009", "x" * 200, "no\nname"])
async def test_stranger_and_nobody_are_turned_away(
    client: Callable[..., SampleClient], client_id: str
) -> None:
    """S0-27, S0-28"""
    with pytest.raises(NotAccepted) as refusal:
        await client(client_id=client_id).connect()

    assert refusal.value.code == 1


@pytest.mark.parametrize("kind", [0, 2, DATA, ACK, 77])
async def test_first_frame_that_is_no_ping_ends_the_connection(
    client: Callable[..., SampleClient], kind: int
) -> None:
    caller = client()
    await caller.dial()

    caller.say(kind, text(1, "client-001"))

    with pytest.raises(NotAccepted) as refusal:
        await caller.answered()
    assert refusal.value.code == 1


_BROKEN = {
    "length 0": (0).to_bytes(4),
    "10 MiB + 1": (MAX_FRAME_BYTES + 1).to_bytes(4),
    "4 GiB": b"\xff\xff\xff\xff",
    "no frame": b"\x00\x00\x00\x03\xff\xff\xff",
    "ends inside a frame": b"\x00\x00\x00\x09abc",
}


@pytest.mark.parametrize("broken", _BROKEN)
async def test_broken_frame_ends_only_its_link(
    gateway: Station, connect: Connect, aggregator: Aggregator, broken: str
) -> None:
    """S1-4, S0-28"""
    bad, good = await connect(), await connect(client_id="client-002")

    bad.say_raw(_BROKEN[broken], fin=True)

    await asyncio.wait_for(bad.ended.wait(), 20)
    await eventually(lambda: ended(gateway, "a1") is LinkEnd.UNDECODABLE)
    await order(gateway, "a2", "c-1", "echo", b"1")
    assert bad.close_code == 1
    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
    assert not good.ended.is_set()


async def test_one_byte_at_a_time_is_understood(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    caller = await connect(deaf=True)
    await order(gateway, "a1", "c-1")
    await eventually(lambda: caller.orders)
    pongs = caller.pongs
    ping = b"\x00\x00\x00\x10\x08\x01\x12\x0c\x0a\x0aclient-001"

    stream_id = caller.say_raw(ping[:1])
    for octet in ping[1:]:
        caller.say_raw(bytes([octet]), stream_id=stream_id)
        await asyncio.sleep(0)

    await eventually(lambda: caller.pongs > pongs)


async def test_client_hears_the_drain_as_an_orderly_end(gateway: Station, connect: Connect) -> None:
    """S1-29"""
    caller = await connect()

    gateway.ctx.stopping.set()

    await asyncio.wait_for(caller.ended.wait(), 20)
    assert (caller.close_code, caller.close_phrase) == (0, "draining")


async def test_flood_of_heartbeats_delays_nobody(
    gateway: Station, connect: Connect, aggregator: Aggregator
) -> None:
    """I9"""
    flooding, sound = await connect(), await connect(client_id="client-002")

    for _ in range(2000):
        flooding.say_ping()
    await order(gateway, "a2", "c-1", "echo", b"1")

    assert (await end_of(aggregator, "c-1")).end is CommandState.SUCCEEDED
    assert not sound.ended.is_set()


async def test_second_ping_under_another_name_ends_the_link(gateway: Station, connect: Connect) -> None:
    caller = await connect()

    caller.say(PING, text(1, "client-002"))

    await asyncio.wait_for(caller.ended.wait(), 20)
    assert caller.close_code == 1
    await eventually(lambda: ended(gateway, "a1") is LinkEnd.PROTOCOL)
