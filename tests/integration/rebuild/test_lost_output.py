"""What is missing from the log for good is still told after a rebuild."""

from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import LostOutput
from tests.integration.rebuild.history import History, now_ms

S = CommandState


async def _ended(history: History) -> str:
    command_id = await history.command()
    await history.move(command_id, S.SENT)
    await history.move(command_id, S.EXECUTING)
    await history.move(command_id, S.SUCCEEDED, stdout_bytes=20, stderr_bytes=20, completed_at_ms=now_ms())
    return command_id


async def test_gaps_in_output_are_known_after_a_rebuild(history: History) -> None:
    """I4, I12: truncation is explicit, also when the state was lost."""
    command_id = await _ended(history)
    gaps = [
        LostOutput(command_id, 1, "stdout", ((0, 5), (7, 9))),
        LostOutput(command_id, 1, "stderr", ((1, 2),)),
    ]
    await history.tell(await history.store.lose_output(gaps))
    before = await history.store.command("t", command_id)
    assert before is not None
    assert before.stdout.lost == ((0, 5), (7, 9))

    await history.client.flushall()
    await history.rebuild()

    after = await history.store.command("t", command_id)
    assert after is not None
    assert (after.state, after.stdout, after.stderr) == (S.SUCCEEDED, before.stdout, before.stderr)


async def test_a_gap_that_is_found_after_a_rebuild_is_no_duplicate_of_an_event_from_before(
    history: History,
) -> None:
    """I12: the bus would drop an event whose id it has seen, and nobody would hear of the gap."""
    command_id = await _ended(history)
    late = await history.store.lose_output([LostOutput(command_id, 1, "stdout", ((0, 5),))])
    await history.client.flushall()
    await history.rebuild()
    await history.relay.publish(late.entries)  # its writer had it in hand while the state was lost

    again = await history.store.lose_output([LostOutput(command_id, 1, "stderr", ((2, 4),))])

    assert again.outcomes[0].version > late.outcomes[0].version
