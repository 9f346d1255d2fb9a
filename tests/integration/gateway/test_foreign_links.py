"""Links of other protocols: what the gateway keeps for an agent that keeps nothing."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import pytest

from quarterdeck.contracts import reports, subjects
from quarterdeck.contracts.limits import STORED_CHUNK_BYTES
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.orders import OrderAnswer
from quarterdeck.contracts.reports import Report
from quarterdeck.contracts.states import CommandState
from quarterdeck.contracts.streams import FEED
from quarterdeck.testing.eventually import eventually
from tests.integration.gateway.conftest import Build, House
from tests.integration.gateway.note_dialect import TENANT, NoteAgent, NoteDialect

R = TypeVar("R", bound=Report)


async def report_of(house: House, kind: type[R], command_id: str = "c1") -> R:
    """The first report of `kind` on a command, once it is there."""

    def fitting(found: list[Report]) -> list[R]:
        return [report for report in found if isinstance(report, kind) and report.command_id == command_id]

    return fitting(await house.reports(lambda found: bool(fitting(found))))[0]


async def stored_output(house: House, command_id: str = "c1") -> bytes:
    subject = subjects.output(TENANT, None, command_id, 1, "stdout")
    chunks = [m.body async for messages in house.bus.read(FEED, [subject], follow=False) for m in messages]
    return b"".join(chunks)


def kinds(house: House, command_id: str) -> list[str]:
    return [type(report).__name__ for report in house.aggregator.reports if report.command_id == command_id]


async def test_order_runs_and_its_output_is_stored_before_its_result(house: House) -> None:
    """S1-8 S4-17 I4: length and digest are the gateway's, the agent gives none."""
    agent = await NoteAgent.connected(house)

    assert await agent.order("c1") == [OrderAnswer.QUEUED]
    assert await agent.hear() == {"run": "c1"}
    await agent.say(out="c1", text="x", times=3 * STORED_CHUNK_BYTES + 1)
    await agent.say(out="c1", text="end")
    await agent.say(done="c1", end="succeeded")

    result = await report_of(house, reports.Result)
    content = b"x" * (3 * STORED_CHUNK_BYTES + 1) + b"end"
    assert await stored_output(house) == content
    assert result.end is CommandState.SUCCEEDED
    assert result.stdout.length == len(content)
    assert result.stdout.sha256 == result.stdout.stored_sha256 == hashlib.sha256(content).digest()
    assert [kind for kind in kinds(house, "c1") if kind != "Progress"] == ["Accepted", "Started", "Result"]


async def test_what_the_protocol_cannot_carry_is_rejected_before_anything_is_sent(house: House) -> None:
    agent = await NoteAgent.connected(house)

    assert await agent.order("c1", command_type="exec") == [OrderAnswer.QUEUED]
    await agent.order("c2")

    rejected = await report_of(house, reports.Rejected)
    assert (rejected.reason, rejected.error) == ("unsupported_by_dialect", "no exec here")
    assert await agent.hear() == {"run": "c2"}


async def test_order_that_comes_twice_is_written_once(house: House, build: Build) -> None:
    """I2: on this link, on a later one, and on the link of another gateway."""
    agent = await NoteAgent.connected(house)
    await agent.order("c1")
    assert await agent.hear() == {"run": "c1"}

    assert await agent.order("c1") == [OrderAnswer.QUEUED]
    other_house = await build()
    elsewhere = await NoteAgent.connected(other_house)
    assert await elsewhere.order("c1", "c2") == [OrderAnswer.QUEUED] * 2

    assert await elsewhere.hear() == {"run": "c2"}
    assert await agent.hear() == {"bye": "replaced"}
    result = await report_of(house, reports.Result)
    assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")


async def test_link_that_ends_leaves_no_command_running(house: House) -> None:
    """S0-36 I3: nobody knows how it ended; what was never written goes back."""
    agent = await NoteAgent.connected(house, dialect=NoteDialect(max_running=1))
    await agent.order("c1", "c2", handover="h1")
    assert await agent.hear() == {"run": "c1"}
    await agent.say(out="c1", text="so far")

    await agent.wire.close("gone")

    result = await report_of(house, reports.Result)
    assert (result.end, result.reason, result.stdout.length) == (
        CommandState.OUTCOME_UNKNOWN,
        "link_lost",
        6,
    )
    assert (await report_of(house, reports.Returned, "c2")).handover == "h1"
    assert await stored_output(house) == b"so far"


async def test_agent_that_runs_one_command_at_a_time_gets_the_next_when_it_is_free(house: House) -> None:
    """S1-16"""
    agent = await NoteAgent.connected(house, dialect=NoteDialect(max_running=1))
    await agent.order("c1", "c2")
    assert await agent.hear() == {"run": "c1"}
    await agent.say(beat=1)

    await agent.say(done="c1", end="failed", error="no")

    assert await agent.hear() == {"run": "c2"}
    result = await report_of(house, reports.Result)
    assert (result.end, result.error) == (CommandState.FAILED, "no")


async def test_terminate_reaches_the_agent_and_its_word_ends_the_command(house: House) -> None:
    """S4-24"""
    agent = await NoteAgent.connected(house)
    await agent.order("c1")
    await agent.hear()

    await agent.terminate("c1")

    assert await agent.hear() == {"stop": "c1"}
    await agent.say(done="c1", end="failed", error="killed")
    assert (await report_of(house, reports.Result)).end is CommandState.TERMINATED


async def test_stop_without_a_word_for_it_abandons_the_command_and_fences_what_comes_late(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """I8: `terminated`, and it says what is not known."""
    agent = await NoteAgent.connected(house, dialect=NoteDialect(stops=False))
    await agent.order("c1")
    await agent.hear()

    await agent.terminate("c1")
    result = await report_of(house, reports.Result)
    for _ in range(3):
        await agent.say(done="c1", end="succeeded")
    await agent.order("c2")
    await agent.hear()

    assert (result.end, result.reason) == (CommandState.TERMINATED, "may_still_run")
    assert result.error == "agent may still run it"
    assert kinds(house, "c1").count("Result") == 1
    assert capsys.readouterr().out.count("gateway.message_fenced") == 1


async def test_cancel_that_comes_before_its_order_prevents_the_start(house: House) -> None:
    """I8"""
    agent = await NoteAgent.connected(house)

    await agent.terminate("c1")
    await agent.order("c1", "c2")

    assert await agent.hear() == {"run": "c2"}
    assert (await report_of(house, reports.Result)).end is CommandState.TERMINATED


async def test_timeout_is_kept_by_the_gateway(house: House) -> None:
    """S4-29: the agent does nothing about it, and then says nothing."""
    agent = await NoteAgent.connected(house)
    await agent.order("c1", timeout_ms=50)
    assert await agent.hear() == {"run": "c1"}

    assert await agent.hear() == {"stop": "c1"}
    result = await report_of(house, reports.Result)

    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "may_still_run")


async def test_order_that_expired_is_not_written(house: House) -> None:
    agent = await NoteAgent.connected(house)

    await agent.order("c1", expires_ms=house.clock.now_ms() - 1)
    await agent.order("c2")

    result = await report_of(house, reports.Result)
    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "delivery")
    assert await agent.hear() == {"run": "c2"}


async def test_output_limit_of_a_command_truncates_and_says_so(house: House) -> None:
    """I9"""
    agent = await NoteAgent.connected(house)
    await agent.order("c1")
    await agent.hear()
    link = house.gateway.links.find(TENANT, "n1")
    command = link._desk.find("c1")  # type: ignore[union-attr]
    for stream in command.streams.values():
        stream.limit_bytes = 10

    await agent.say(out="c1", text="0123456789abc")
    await agent.say(out="c1", text="def")
    await agent.say(done="c1", end="succeeded")

    result = await report_of(house, reports.Result)
    assert (result.stdout.length, result.stdout.truncated_bytes) == (10, 6)
    assert await stored_output(house) == b"0123456789"


async def test_link_is_not_read_while_its_output_waits_for_the_bus(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: what is held stays near the window, however much the agent sends."""
    house = await build(window_bytes=256 * 1024)
    agent = await NoteAgent.connected(house)
    await agent.order("c1")
    await agent.hear()
    link = house.gateway.links.find(TENANT, "n1")
    held: list[int] = []
    output = link._desk._output  # type: ignore[union-attr]
    take: Callable[[object], None] = output.take

    def watched(chunk: object) -> None:
        take(chunk)
        held.append(output.held_bytes)

    monkeypatch.setattr(output, "take", watched)

    for _ in range(64):
        await agent.say(out="c1", text="y", times=100_000)
    await agent.say(done="c1", end="succeeded")

    assert (await report_of(house, reports.Result)).stdout.length == 6_400_000
    assert max(held) < 256 * 1024 + 2 * 100_000


async def test_orders_that_wait_for_an_agent_are_bounded_by_their_bytes(build: Build) -> None:
    """I9: `busy` means again later; what waits is held by the gateway, and a payload may be large."""
    house = await build(queued_order_bytes=2 * 600)
    agent = await NoteAgent.connected(house, dialect=NoteDialect(max_running=1))
    await agent.order("c1")
    assert await agent.hear() == {"run": "c1"}

    answers = await agent.order("c2", "c3", "c4", "c5", "c6")
    assert OrderAnswer.QUEUED in answers
    assert answers[-1] is OrderAnswer.BUSY
    await agent.say(done="c1", end="succeeded")

    assert await agent.hear() == {"run": "c2"}
    assert await agent.order("c7") == [OrderAnswer.QUEUED]


async def test_drain_lets_what_runs_end_and_then_the_link(house: House) -> None:
    agent = await NoteAgent.connected(house)
    await agent.order("c1")
    await agent.hear()
    link = house.gateway.links.find(TENANT, "n1")
    assert link is not None

    link.drain(10_000)
    await agent.say(done="c1", end="succeeded")

    assert await agent.hear() == {"bye": "draining"}
    assert (await report_of(house, reports.Result)).end is CommandState.SUCCEEDED
    await eventually(lambda: house.gateway.links.find(TENANT, "n1") is None)


async def test_frame_that_breaks_a_conversation_ends_its_link_alone(house: House) -> None:
    """S1-4"""
    broken = await NoteAgent.connected(house, "n1")
    sound = await NoteAgent.connected(house, "n2")

    await broken.wire.send(b"no note")

    assert await broken.hear() == {}
    await sound.order("c2")
    assert await sound.hear() == {"run": "c2"}


async def test_order_behind_one_that_the_agent_does_not_read_is_not_written_after_the_links_end(
    house: House,
) -> None:
    """I3: both were about to be written; the second never was, and comes back."""
    agent = await NoteAgent.connected(house)
    link = house.gateway.links.find(TENANT, "n1")
    assert link is not None

    agent.wire.reads.clear()
    await agent.order("c1", "c2", handover="h1")
    await eventually(lambda: link._desk.find("c1") is not None)  # type: ignore[attr-defined]
    link.end(LinkEnd.REVOKED)
    await eventually(lambda: len(agent.wire.reads._waiters) == 2)
    agent.wire.reads.set()

    assert (await report_of(house, reports.Returned, "c2")).handover == "h1"
    assert (await report_of(house, reports.Result)).end is CommandState.OUTCOME_UNKNOWN
    assert kinds(house, "c2") == ["Returned"]
