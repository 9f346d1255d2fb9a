"""What the dispatcher ends because somebody stopped it is counted, as every end is."""

import msgspec

from quarterdeck.contracts import streams
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.orders import TerminateRequest
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from tests.integration.dispatcher.plane import SPEC, Plane

S = CommandState


def _terminated(kind: str) -> float:
    told = {"command_type": kind, "state": "terminated"}
    return metrics.REGISTRY.get_sample_value("command_failed_total", told) or 0.0


async def test_what_waited_when_its_batch_was_stopped_counts_as_ended_once(plane: Plane) -> None:
    """S0-22, S4-5"""
    spec = msgspec.structs.replace(SPEC, command_type="counted-waiting", queue_for_ms=60_000)
    batch_id = await plane.post_batch(("a1", "a2"), spec)
    for index in range(2):
        await plane.until(child_id(batch_id, index), S.WAITING)
    written = await plane.store.terminate_batch("t", batch_id, [])
    await plane.relay.publish(written.entries)

    await plane.queue(TerminateRequest(tenant="t", batch_id=batch_id))
    await plane.queue(TerminateRequest(tenant="t", batch_id=batch_id))
    await plane.handled(streams.COMMANDS)

    assert [(await plane.view(child_id(batch_id, index))).state for index in range(2)] == [S.TERMINATED] * 2
    assert _terminated("counted-waiting") == 2
