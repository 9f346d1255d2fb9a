"""Orders from dispatchers to links, and what agents report back to the aggregator."""

import asyncio

import pytest

from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.links import Epoch
from quarterdeck.contracts.orders import (
    GatewayCloseLinks,
    GatewayTerminate,
    OrderAnswer,
    OrderAnswers,
    TerminateItem,
)
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.core.bus import RequestFailed
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import Build, House

_answers: codec.Decoder[OrderAnswers] = codec.Decoder(OrderAnswers)


async def test_order_reaches_its_agent_whole(house: House) -> None:
    """S0-10, S4-14"""
    peer = await house.agent("a1")
    command_id, batch_id = new_id(), new_id()

    answers = await house.order((peer, command_id), batch_id=batch_id)

    assert answers == (OrderAnswer.QUEUED,)
    order = (await peer.hear("order")).order
    assert (order.command_id, order.attempt, order.batch_id) == (command_id, 1, batch_id)
    assert order.epoch == peer.epoch
    assert order.timeout_ms == 60_000
    spec = pb.CommandSpec.FromString(order.spec)
    assert (spec.command_type, spec.payload, spec.priority) == ("shell", b'{"command": "true"}', 5)


async def test_order_of_many_targets_is_answered_one_by_one(house: House) -> None:
    """S0-31"""
    one, two = await house.agent("a1"), await house.agent("a2")
    stranger = house.call("a3")

    answers = await house.order((one, new_id()), (stranger, new_id()), (two, new_id()))

    assert answers == (OrderAnswer.QUEUED, OrderAnswer.GONE, OrderAnswer.QUEUED)
    await one.hear("order")
    await two.hear("order")


async def test_order_of_another_epoch_is_gone(house: House) -> None:
    """An order that was meant for an earlier link must not reach this one."""
    peer = await house.agent("a1")
    stale = Epoch(peer.epoch.incarnation, peer.epoch.revision - 1)

    assert await house.order((peer, new_id()), epoch=stale) == (OrderAnswer.GONE,)


async def test_full_queue_answers_busy_and_loses_nothing(build: Build) -> None:
    """S1-5, S1-19"""
    house = await build(queued_orders=3)
    peer = await house.agent("a1")
    house.pipes["a1"].reads.clear()
    command_ids = [new_id() for _ in range(6)]

    answers = [(await house.order((peer, command_id)))[0] for command_id in command_ids]

    assert answers[-1] == OrderAnswer.BUSY
    house.pipes["a1"].reads.set()
    taken = [
        command_id for command_id, answer in zip(command_ids, answers, strict=True) if answer == "queued"
    ]
    assert [(await peer.hear("order")).order.command_id for _ in taken] == taken


async def test_stalled_link_does_not_hold_back_the_others(house: House) -> None:
    stalled, sound = await house.agent("a1"), await house.agent("a2")
    house.pipes["a1"].reads.clear()

    for _ in range(20):
        await house.order((stalled, new_id()), (sound, new_id()))

    for _ in range(20):
        await sound.hear("order")


async def test_urgent_order_overtakes_queued_ones(house: House) -> None:
    """S0-32"""
    peer = await house.agent("a1")
    house.pipes["a1"].reads.clear()
    await house.order((peer, "first"), priority=5)  # under way already: its frame waits in the carrier
    await house.order((peer, "bulk"), priority=1)
    await house.order((peer, "urgent"), priority=10)

    house.pipes["a1"].reads.set()

    assert [(await peer.hear("order")).order.command_id for _ in range(3)] == ["first", "urgent", "bulk"]


async def test_orders_that_were_never_written_come_back_as_returned(house: House) -> None:
    peer = await house.agent("a1")
    house.pipes["a1"].reads.clear()
    await house.order((peer, "under-way"))
    await house.order((peer, "queued-1"))
    await house.order((peer, "queued-2"))

    await peer.wire.close("cut")  # type: ignore[attr-defined]
    house.pipes["a1"].reads.set()

    found = await house.reports(lambda found: len(found) >= 2)
    assert {(type(report), report.command_id) for report in found} == {
        (reports.Returned, "queued-1"),
        (reports.Returned, "queued-2"),
    }, "what may have been written is not said to be returned"


async def test_reports_are_acknowledged_after_the_bus_has_them(house: House) -> None:
    peer = await house.agent("a1")
    await house.order((peer, "c1"))
    order = (await peer.hear("order")).order

    await peer.say(
        peer.accepted(order),
        pb.AgentMessage(started=pb.Started(report_seq=peer.next_seq(), command_id="c1", attempt=1, at_ms=9)),
        peer.result(order),
    )

    acknowledged: set[int] = set()
    while len(acknowledged) < 3:
        acknowledged.update((await peer.hear("report_ack")).report_ack.report_seq)
    found = await house.reports(lambda found: len(found) >= 3)
    assert [type(report) for report in found] == [reports.Accepted, reports.Started, reports.Result]
    result = found[2]
    assert isinstance(result, reports.Result)
    assert (result.agent_id, result.end, result.exit_code) == ("a1", CommandState.SUCCEEDED, 0)


async def test_reports_of_many_links_share_messages(house: House) -> None:
    """S1-20: what was queued while the bus confirmed the message before goes out together."""
    peers = [await house.agent(f"a{number}") for number in range(20)]
    for peer in peers:
        await house.order((peer, f"c-{peer.agent_id}"))
    orders = [(await peer.hear("order")).order for peer in peers]

    await asyncio.gather(
        *(
            peer.say(peer.accepted(order), peer.result(order))
            for peer, order in zip(peers, orders, strict=True)
        )
    )

    batches = await house.batches(lambda found: len(found) >= 40)
    assert len(batches) < 10
    assert {batch.tenant for batch in batches} == {"acme"}
    for peer in peers:
        own = [type(r) for batch in batches for r in batch.reports if r.agent_id == peer.agent_id]
        assert own == [reports.Accepted, reports.Result], "in the order that the agent gave them"


async def test_acknowledgements_of_many_reports_share_a_frame(house: House) -> None:
    peer = await house.agent("a1")
    await house.order(*((peer, f"c{number}") for number in range(100)))
    orders = [(await peer.hear("order")).order for _ in range(100)]
    frames_before = peer.frames

    await peer.say(*(peer.result(order) for order in orders))

    acknowledged: list[int] = []
    while len(acknowledged) < 100:
        acknowledged.extend((await peer.hear("report_ack")).report_ack.report_seq)
    assert peer.frames - frames_before < 10


async def test_result_that_no_message_can_hold_is_a_failure_that_says_so(house: House) -> None:
    peer = await house.agent("a1")
    await house.order((peer, "c1"))
    result = peer.result((await peer.hear("order")).order)
    result.result.result = b"x" * 1_000_000

    await peer.say(result)

    (found,) = await house.reports(lambda found: len(found) >= 1)
    assert isinstance(found, reports.Result)
    assert (found.end, found.reason, found.result) == (CommandState.FAILED, "result_too_large", b"")


async def test_report_with_an_id_outside_the_pattern_closes_its_link(house: House) -> None:
    peer = await house.agent("a1")

    await peer.say(pb.AgentMessage(started=pb.Started(report_seq=1, command_id="a.>", attempt=1)))

    assert await peer.hear_end() == "protocol"


async def test_terminate_reaches_the_agent_and_its_acknowledgement_the_aggregator(house: House) -> None:
    """S4-24, S4-25"""
    peer = await house.agent("a1")
    item = TerminateItem(command_id="c1", agent_id="a1", attempt=1, grace_ms=5000)
    stranger = TerminateItem(command_id="c2", agent_id="a9", attempt=1, grace_ms=5000)

    request = GatewayTerminate(tenant="acme", items=(item, stranger))
    raw = await house.bus.request(subjects.control(house.settings.gateway_id), codec.encode(request))

    assert _answers.decode(raw).answers == (OrderAnswer.QUEUED, OrderAnswer.GONE)
    terminate = (await peer.hear("terminate")).terminate
    assert (terminate.command_id, terminate.attempt, terminate.grace_ms) == ("c1", 1, 5000)
    await peer.say(
        pb.AgentMessage(terminate_ack=pb.TerminateAck(report_seq=1, command_id="c1", attempt=1, at_ms=4))
    )
    (found,) = await house.reports(lambda found: len(found) >= 1)
    assert isinstance(found, reports.TerminateAcked)


async def test_links_are_closed_on_request(house: House) -> None:
    peer = await house.agent("a1")

    request = GatewayCloseLinks(tenant="acme", agent_ids=("a1", "a9"), reason="revoked")
    raw = await house.bus.request(subjects.control(house.settings.gateway_id), codec.encode(request))

    assert _answers.decode(raw).answers == (OrderAnswer.QUEUED, OrderAnswer.GONE)
    assert await peer.hear_end() == "revoked"


async def test_request_that_does_not_decode_is_answered_with_its_error(house: House) -> None:
    with pytest.raises(RequestFailed) as failure:
        await house.bus.request(subjects.order(house.settings.gateway_id), b"\xc1")

    assert failure.value.reason == "decode_error"


async def test_heartbeat_is_answered_and_counted(house: House) -> None:
    """S1-12, S1-22"""
    peer = await house.agent("a1")
    before = metrics.HEARTBEATS.labels("grpc")._value.get()

    await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=11)))

    assert (await peer.hear("heartbeat_ack")).heartbeat_ack.at_ms == 11
    assert metrics.HEARTBEATS.labels("grpc")._value.get() == before + 1


async def test_every_twentieth_heartbeat_is_logged(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """S1-13"""
    peer = await house.agent("a1")

    for number in range(41):
        await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=number)))
        await peer.hear("heartbeat_ack")

    assert capsys.readouterr().out.count("gateway.heartbeats_received") == 2


async def test_messages_of_a_newer_protocol_are_ignored(house: House) -> None:
    """S1-25"""
    peer = await house.agent("a1")
    unknown_member = b"\x0a\x04\xfa\x7f\x01x"  # AgentMessage with field 2047

    await peer.wire.send(unknown_member)

    await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=3)))
    assert (await peer.hear("heartbeat_ack")).heartbeat_ack.at_ms == 3


async def test_agent_events_are_told_in_order(house: House) -> None:
    """agent.enrolled, agent.connected, agent.disconnected as CloudEvents with growing versions."""
    import msgspec

    peer = await house.agent("a1")
    await peer.say(pb.AgentMessage(goodbye=pb.Goodbye(reason="leaving")))

    events: list[dict[str, object]] = []
    async with asyncio.timeout(5):
        async for messages in house.bus.read("QD_FEED", ["qd.event.acme.>"], follow=True):
            events += [msgspec.json.decode(message.body) for message in messages]
            if len(events) >= 3:
                break
    assert [event["type"] for event in events] == ["agent.enrolled", "agent.connected", "agent.disconnected"]
    versions = [event["aggregateversion"] for event in events]
    assert versions == sorted(versions, key=int)  # type: ignore[arg-type]
    assert {event["subject"] for event in events} == {"a1"}
