"""Everything stops, brokers included, and comes back: what was due meanwhile happens then."""

import asyncio

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.reports import Result
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import Amendment
from quarterdeck.embedded.nats_server import NatsServer
from quarterdeck.embedded.redis_server import RedisServer
from tests.integration.dispatcher.plane import running_plane

S = CommandState


async def test_a_deadline_that_passed_while_everything_was_down_fires_afterwards(
    nats_server: NatsServer, redis_server: RedisServer
) -> None:
    """I1: no command is left without an end; what may have run is unknown, what never left is a late delivery."""
    async with running_plane(nats_server.url, redis_server.url) as plane:
        await plane.gateway("gw1", "a1")
        await plane.link("gw1", "a2", ended_ms_ago=0)
        sent, never_sent = await plane.post("a1"), await plane.post("a2")
        await plane.until(sent, S.SENT)
        await plane.handled(streams.COMMANDS)
        for command_id in (sent, never_sent):
            past_ms = (await plane.view(command_id)).created_at_ms
            await plane.store.amend([Amendment(command_id, 1, {"deadline_at_ms": past_ms})])
        await plane.store.look_again([sent, never_sent], 0, now_ms=plane.clock.now_ms())
    await asyncio.gather(nats_server.kill(), redis_server.kill())

    await asyncio.gather(nats_server.restart(), redis_server.restart())
    async with running_plane(nats_server.url, redis_server.url) as plane:
        await plane.attention.sweep()

        unknown, late = await plane.view(sent), await plane.view(never_sent)
        told = [
            message
            async for messages in plane.bus.read(
                streams.FEED, [subjects.event("t", None, sent, "command", "completed")], follow=False
            )
            for message in messages
        ]
    assert (unknown.state, unknown.reason) == (S.OUTCOME_UNKNOWN, "deadline")
    assert (late.state, late.reason) == (S.TIMED_OUT, "delivery")
    assert len(told) == 1


async def test_a_result_that_the_bus_has_beats_the_deadline_that_passed_while_everything_was_down(
    nats_server: NatsServer, redis_server: RedisServer
) -> None:
    """I3: an end that is known is never called unknown, however long nobody was there to read it."""
    async with running_plane(nats_server.url, redis_server.url) as plane:
        await plane.gateway("gw1", "a1")
        command_id = await plane.post("a1")
        await plane.until(command_id, S.SENT)
        past_ms = (await plane.view(command_id)).created_at_ms
        await plane.store.amend([Amendment(command_id, 1, {"deadline_at_ms": past_ms})])
        await plane.stop_aggregator()
        await plane.report(
            Result(command_id=command_id, attempt=1, agent_id="a1", at_ms=5, end=S.SUCCEEDED, exit_code=0)
        )

        await plane.look_now(command_id)
        waiting = await plane.view(command_id)
    async with running_plane(nats_server.url, redis_server.url) as plane:
        ended = await plane.until(command_id, S.SUCCEEDED)

    assert waiting.state is S.SENT
    assert ended.exit_code == 0
