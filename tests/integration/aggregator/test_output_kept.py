"""What is said of a command's output when its end comes: whole, lost in part, or vouched for by nobody."""

import hashlib

import msgspec

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.output import OFFSET_HEADER
from quarterdeck.contracts.reports import Progress, Result, StreamReport
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Outgoing
from tests.integration.dispatcher.plane import Plane

S = CommandState

LOG = b"0123456789" * 10


async def _sent(plane: Plane) -> str:
    await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await plane.until(command_id, S.SENT)
    return command_id


async def _store(plane: Plane, command_id: str, *parts: tuple[int, int]) -> None:
    """The feed as its limits left it: these parts of LOG."""
    subject = subjects.output("t", None, command_id, 1, "stdout")
    for start, end in parts:
        await plane.bus.publish(Outgoing(subject, LOG[start:end], headers={OFFSET_HEADER: str(start)}))


def _result(command_id: str, *, end: CommandState = S.SUCCEEDED, length: int = len(LOG)) -> Result:
    """Of a stream that no single gateway saw from its start: there is no digest of what is stored."""
    stdout = StreamReport(length=length, sha256=hashlib.sha256(LOG).digest())
    return Result(command_id=command_id, attempt=1, agent_id="a1", at_ms=5, end=end, stdout=stdout)


async def _told(plane: Plane, command_id: str) -> list[tuple[int, int]]:
    subject = subjects.event("t", None, command_id, "command", "output_lost")
    events = [
        msgspec.json.decode(message.body)
        async for messages in plane.bus.read(streams.FEED, [subject], follow=False)
        for message in messages
    ]
    return [(event["data"]["from_offset"], event["data"]["to_offset"]) for event in events]


async def test_a_stream_that_moved_between_gateways_is_read_again_and_verified(plane: Plane) -> None:
    """I4: length and digest of the store, not of anybody's word."""
    command_id = await _sent(plane)
    await _store(plane, command_id, (0, 40), (40, 100))

    await plane.report(_result(command_id))
    ended = await plane.until(command_id, S.SUCCEEDED)

    assert (ended.stdout.verified, ended.stdout.lost) == (True, ())
    assert await _told(plane, command_id) == []


async def test_output_that_was_trimmed_before_the_end_is_told_with_its_exact_parts_once(plane: Plane) -> None:
    """I4: never shown as complete; the same result, delivered again, tells it no second time."""
    command_id = await _sent(plane)
    await _store(plane, command_id, (20, 40), (60, 90))

    for _ in range(3):
        await plane.report(_result(command_id))
    await plane.handled(streams.REPORTS)

    ended = await plane.view(command_id)
    missing = [(0, 20), (40, 60), (90, 100)]
    assert (ended.state, ended.stdout.verified) == (S.SUCCEEDED, False)
    assert ended.stdout.lost == tuple(missing)
    assert await _told(plane, command_id) == missing


async def test_output_of_a_killed_executor_is_kept_and_never_called_complete(plane: Plane) -> None:
    """I3, I4: its end knows nothing of the output; what is stored is shown, and nobody vouches for it."""
    command_id = await _sent(plane)
    await _store(plane, command_id, (0, 40))
    await plane.report(
        Progress(
            command_id=command_id,
            attempt=1,
            agent_id="a1",
            at_ms=4,
            stdout=StreamReport(length=40, tail=b"x"),
        )
    )

    end = Result(
        command_id=command_id,
        attempt=1,
        agent_id="a1",
        at_ms=5,
        end=S.OUTCOME_UNKNOWN,
        reason="executor_killed",
    )
    await plane.report(end)
    ended = await plane.until(command_id, S.OUTCOME_UNKNOWN)

    assert (ended.stdout.length, ended.stdout.sha256, ended.stdout.verified) == (40, "", False)
