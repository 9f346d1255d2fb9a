"""A batch over a WebSocket through the one port of a whole system, with real processes at the other end."""

import pytest

from tests.e2e.system import System
from tests.integration.broadcaster.wire import bytes_of, statuses_of, wired_to

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_page_sees_the_output_live_and_stops_one_task(system: System) -> None:
    """S4-22, S4-24: what is told is what REST says afterwards."""
    loops, stops = system.agents[:2]
    batch_id = await system.batch("echo started; while [ ! -e go ]; do sleep 0.1; done", [loops, stops])
    ready = system.ready
    async with wired_to(ready["api"], batch_id, token=ready["token"]) as wire:
        messages = await wire.until("NEW_LOG_OUTPUT")
        tasks = {m["payload"]["vps_id"]: m["payload"] for m in messages if m["type"] == "CHILD_TASK_UPDATE"}
        child_id = tasks[stops]["child_command_id"]
        await wire.say("TERMINATE_TASK", child_command_id=child_id)
        messages += await wire.until("CHILD_TASK_UPDATE", child_command_id=child_id, status="TERMINATED")
        await wire.say("TERMINATE_TASK", batch_command_id=batch_id)
        messages += await wire.rest()

    assert wire.closed == (1000, "the batch has ended")
    batch = await system.finished(batch_id)
    for task in batch["tasks"]:
        child_id = task["child_command_id"]
        assert statuses_of(messages, child_id)[-1] == task["status"] == "TERMINATED"
        assert bytes_of(messages, child_id) == await system.output(child_id)
    updates = [m["payload"] for m in messages if m["type"] == "BATCH_TASK_UPDATE"]
    assert updates[-1]["overall_status"] == batch["overall_status"]
