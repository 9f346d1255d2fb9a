"""Reports come late, twice, in any order, over any gateway, and about attempts of before: one end, told once."""

import random

import msgspec
import pytest

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.commands import CommandSpec, Retry
from quarterdeck.contracts.reports import (
    Accepted,
    Progress,
    Report,
    Result,
    Started,
    StreamReport,
    TerminateAcked,
)
from quarterdeck.contracts.states import CommandState
from tests.integration.dispatcher.plane import SPEC, Plane

S = CommandState


def _reports(command_id: str, attempt: int = 1, end: CommandState = S.SUCCEEDED) -> list[Report]:
    """All that an agent says of one attempt, in the order of its life."""
    who = {"command_id": command_id, "attempt": attempt, "agent_id": "a1"}
    return [
        Accepted(**who, at_ms=11),  # type: ignore[arg-type]
        Started(**who, at_ms=12),  # type: ignore[arg-type]
        Progress(**who, at_ms=13, stdout=StreamReport(length=3, tail=b"abc")),  # type: ignore[arg-type]
        TerminateAcked(**who, at_ms=14),  # type: ignore[arg-type]
        Result(**who, at_ms=15, started_at_ms=12, end=end, exit_code=int(end is not S.SUCCEEDED)),  # type: ignore[arg-type]
    ]


async def _told(plane: Plane, command_id: str, verb: str) -> list[dict[str, object]]:
    subject = subjects.event("t", None, command_id, "command", verb)
    return [
        msgspec.json.decode(message.body)["data"]
        async for messages in plane.bus.read(streams.FEED, [subject], follow=False)
        for message in messages
    ]


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_of_any_copies_of_the_reports_ends_a_command_once(plane: Plane, seed: int) -> None:
    """I1, I3: accepted after the result, the result twice, two gateways telling the same."""
    chance = random.Random(seed)
    gateway = await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await plane.until(command_id, S.SENT)
    said = _reports(command_id) * 3
    chance.shuffle(said)

    while said:
        some = [said.pop() for _ in range(min(len(said), chance.randint(1, 4)))]
        await plane.report(*some, gateway_id=chance.choice(["gw1", "gw2"]))
    await plane.handled(streams.REPORTS)
    await plane.look_now(command_id)

    ended = await plane.view(command_id)
    (completed,) = await _told(plane, command_id, "completed")
    assert (ended.state, ended.exit_code, ended.completed_at_ms) == (S.SUCCEEDED, 0, 15)
    assert completed["state"] == "succeeded"
    assert gateway.ordered == [command_id]


async def test_what_is_still_said_of_a_failed_attempt_does_not_touch_the_next_one(plane: Plane) -> None:
    """I2, I3: its result, delivered again, is neither the second attempt's end nor a third one's beginning."""
    gateway = await plane.gateway("gw1", "a1")
    spec = CommandSpec(**{**msgspec.structs.asdict(SPEC), "retry": Retry(max_attempts=3, backoff_ms=1)})
    command_id = await plane.post("a1", spec)
    await plane.until(command_id, S.SENT)
    first = _reports(command_id, 1, S.FAILED)
    await plane.report(*first)
    await plane.until(command_id, S.PENDING)
    await plane.look_now(command_id)
    await plane.until(command_id, S.SENT)

    await plane.report(*first, gateway_id="gw2")
    await plane.handled(streams.REPORTS)
    between = await plane.view(command_id)
    await plane.report(*_reports(command_id, 2))
    await plane.until(command_id, S.SUCCEEDED)
    await plane.report(*first)
    await plane.handled(streams.REPORTS)

    ended = await plane.view(command_id)
    assert (between.state, between.attempt, between.accepted_at_ms) == (S.SENT, 2, None)
    assert (ended.state, ended.attempt) == (S.SUCCEEDED, 2)
    assert [order.attempt for orders in gateway.orders for order in orders.orders] == [1, 2]
    assert len(await _told(plane, command_id, "attempt_failed")) == 1
    assert len(await _told(plane, command_id, "completed")) == 1


async def test_a_result_that_comes_after_the_command_was_given_up_changes_nothing(plane: Plane) -> None:
    """I3: what could not be known stays unknown; the end was told."""
    await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await plane.until(command_id, S.SENT)
    await plane.give_up(command_id)

    await plane.report(*_reports(command_id))
    await plane.handled(streams.REPORTS)

    assert (await plane.view(command_id)).state is S.OUTCOME_UNKNOWN
    assert len(await _told(plane, command_id, "completed")) == 1
