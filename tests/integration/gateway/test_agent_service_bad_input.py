"""What no good agent of agent_service says: fenced or refused, counted, logged once, and no other link feels it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.contracts import reports
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Bus
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.agent_service import (
    FAILURE,
    STDERR,
    SUCCESS,
)
from tests.conformance.handpacked import integer, nested, octets, text
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.vps import Field, fenced, vps_field


@pytest.fixture
async def field(bus: Bus, aggregator: Aggregator, tmp_path: Path) -> AsyncIterator[Field]:
    async with vps_field(bus, aggregator, tmp_path) as field:
        yield field


@pytest.mark.parametrize(
    "payload",
    [
        nested(14, text(1, "nobody"), integer(2, SUCCESS)),
        nested(13, text(1, "nobody"), integer(2, 1), octets(3, b"x")),
        nested(16, text(1, "nobody")),
        nested(14, text(1, "")),
    ],
)
async def test_word_for_an_unknown_command_is_counted_and_the_link_goes_on(
    field: Field, payload: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """S4-36"""
    agent = await field.connected()
    before = fenced()

    for _ in range(3):
        await agent.say(payload)

    await eventually(lambda: fenced() == before + 3)
    assert capfd.readouterr().out.count("gateway.message_fenced") == 1
    command_id = await field.order("echo still here")
    assert (await field.report(reports.Result, command_id)).end is CommandState.SUCCEEDED


async def test_result_of_another_agents_command_changes_nothing(field: Field) -> None:
    """S4-36, I11"""
    owner, other = await field.connected(7, deaf=True), await field.connected(8)
    command_id = await field.order("true", vps_db_id=7)
    await eventually(lambda: owner.orders)
    before = fenced()

    await other.say_result(command_id, FAILURE, 1, "not mine")
    await eventually(lambda: fenced() == before + 1)
    await owner.say_result(command_id, SUCCESS)

    assert (await field.report(reports.Result, command_id)).end is CommandState.SUCCEEDED


async def test_output_after_the_result_is_not_stored(field: Field) -> None:
    """I4"""
    agent = await field.connected(deaf=True)
    command_id = await field.order("true")
    await eventually(lambda: agent.orders)
    await agent.say_output(command_id, b"before")
    before = fenced()

    await agent.say_result(command_id, SUCCESS)
    await agent.say_output(command_id, b"after")
    await agent.say_output(command_id, b"after", STDERR)
    await agent.say_result(command_id, FAILURE, 1)

    await eventually(lambda: fenced() == before + 3)
    assert (await field.report(reports.Result, command_id)).end is CommandState.SUCCEEDED
    assert await field.stored(command_id) == b"before"


async def test_output_of_no_stream_costs_only_itself(field: Field) -> None:
    agent = await field.connected(deaf=True)
    command_id = await field.order("true")
    await eventually(lambda: agent.orders)

    await agent.say_output(command_id, b"lost", stream=0)
    await agent.say_output(command_id, b"kept")
    await agent.say_result(command_id, SUCCESS)

    result = await field.report(reports.Result, command_id)
    assert result.stdout.sha256 == hashlib.sha256(b"kept").digest()


async def test_messages_for_other_purposes_leave_the_link_as_it_is(field: Field) -> None:
    """S4-7, S1-13"""
    agent = await field.connected()

    await agent.say_metrics()
    await agent.say_unknown()

    command_id = await field.order("true")
    assert (await field.report(reports.Result, command_id)).end is CommandState.SUCCEEDED


@pytest.mark.parametrize("spoken", ["secret", "id", "id as text", "bytes", "handshake"])
async def test_bad_message_closes_its_own_link_and_no_other(field: Field, spoken: str) -> None:
    """S0-27, S1-4, S4-36"""
    bad, good = await field.connected(7), await field.connected(8)
    word = nested(14, text(1, "c-1"), integer(2, SUCCESS))

    match spoken:
        case "secret":
            await bad.say(word, secret="guess")
        case "id":
            await bad.say(word, vps_db_id=integer(9, 8))
        case "id as text":
            await bad.say(word, vps_db_id=text(9, "7"))
        case "bytes":
            await bad.say_raw(b"\xff\xff\xff")
        case _:
            await bad.say(nested(2))

    await asyncio.wait_for(bad.ended.wait(), 20)
    assert (bad.refusal is not None) is (spoken in {"secret", "id", "id as text"})
    command_id = await field.order("true", vps_db_id=8)
    assert (await field.report(reports.Result, command_id)).end is CommandState.SUCCEEDED
    assert not good.ended.is_set()
