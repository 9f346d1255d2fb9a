"""Commands that are held back: they wait, are released, or are skipped, whatever is lost on the way."""

import msgspec
import pytest

from quarterdeck.contracts import streams
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import child_id, new_id
from quarterdeck.contracts.policies import Approval
from quarterdeck.contracts.reports import Accepted, Result
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.registry.keys import approval_key
from quarterdeck.testing.eventually import eventually
from tests.integration.dispatcher.plane import SPEC, Plane

S = CommandState


def after(*dependencies: str) -> CommandSpec:
    return msgspec.structs.replace(SPEC, depends_on=dependencies)


async def end(plane: Plane, command_id: str, state: CommandState = S.SUCCEEDED) -> None:
    """The agent reports the end of a command that was sent."""
    view = await plane.until(command_id, S.SENT)
    await plane.report(
        Result(
            command_id=command_id,
            attempt=view.attempt,
            agent_id=view.agent_id,
            at_ms=5,
            end=state,
            exit_code=0,
        )
    )
    await plane.until(command_id, state)


async def settled(plane: Plane) -> None:
    """Everything that was queued was taken, and the sweep after it has looked."""
    await plane.handled(streams.COMMANDS)
    await plane.attention.sweep()


async def test_a_dependant_waits_and_is_sent_when_its_dependency_succeeded(plane: Plane) -> None:
    """S0-40"""
    gateway = await plane.gateway("gw1", "a1", "a2")
    first = await plane.post("a1")
    second = await plane.post("a2", after(first))

    waiting = await plane.until(second, S.WAITING)
    assert waiting.reason == "dependencies"
    assert gateway.ordered == [first]
    await end(plane, first)
    await settled(plane)

    sent = await plane.until(second, S.SENT)
    assert sent.reason is None
    assert gateway.ordered == [first, second]


async def test_a_dependant_of_what_succeeded_long_ago_is_sent_at_once(plane: Plane) -> None:
    """S0-40"""
    await plane.gateway("gw1", "a1")
    first = await plane.post("a1")
    await end(plane, first)

    second = await plane.post("a1", after(first))

    await plane.until(second, S.SENT)


@pytest.mark.parametrize("how", [S.FAILED, S.TIMED_OUT, S.TERMINATED, S.OUTCOME_UNKNOWN])
async def test_a_dependant_of_what_did_not_succeed_is_skipped_and_never_sent(
    plane: Plane, how: CommandState
) -> None:
    """S0-40"""
    gateway = await plane.gateway("gw1", "a1", "a2")
    first = await plane.post("a1")
    second = await plane.post("a2", after(first))
    third = await plane.post("a2", after(second))
    await plane.until(third, S.WAITING)

    await end(plane, first, how)
    await settled(plane)
    await plane.until(second, S.SKIPPED)
    await settled(plane)

    skipped = await plane.until(third, S.SKIPPED)
    assert skipped.reason == "dependency_failed"
    assert skipped.error == f"dependency failed: {second}: skipped"
    assert gateway.ordered == [first]


async def test_all_dependencies_must_have_succeeded(plane: Plane) -> None:
    """S0-40"""
    await plane.gateway("gw1", "a1")
    first, second = await plane.post("a1"), await plane.post("a1")
    last = await plane.post("a1", after(first, second))
    await plane.until(last, S.WAITING)

    await end(plane, first)
    await settled(plane)
    assert (await plane.view(last)).state is S.WAITING
    await end(plane, second)
    await settled(plane)

    await plane.until(last, S.SENT)


async def test_a_batch_depends_on_a_batch(plane: Plane) -> None:
    """S0-40, S0-41: the children wait for all of the other batch, and are sent together."""
    gateway = await plane.gateway("gw1", "a1", "a2")
    first = await plane.post_batch(("a1", "a2"))
    second = await plane.post_batch(("a1", "a2"), after(first))

    async def states(batch_id: str) -> set[CommandState]:
        batch = await plane.store.batch("t", batch_id)
        assert batch is not None
        return set(batch.counts)

    async def all_wait() -> bool:
        return await states(second) == {S.WAITING}

    await eventually(all_wait)
    batch = await plane.store.batch("t", first)
    assert batch is not None
    for child in await plane.store.children(batch):
        await end(plane, child.command_id)
    await settled(plane)

    async def all_sent() -> bool:
        return await states(second) == {S.SENT}

    await eventually(all_sent)
    assert len(gateway.ordered) == 4
    ended = await plane.store.batch("t", first)
    assert ended is not None
    assert ended.state is BatchState.COMPLETED_SUCCESSFULLY


async def test_a_lost_message_of_an_end_only_delays_the_dependant(plane: Plane) -> None:
    """S0-35, S0-40: whoever waits looks again by itself."""
    await plane.gateway("gw1", "a1")
    first = await plane.post("a1")
    second = await plane.post("a1", after(first))
    await plane.until(second, S.WAITING)
    await end(plane, first)
    await plane.handled(streams.COMMANDS)

    await plane.look_now(second)

    await plane.until(second, S.SENT)


async def test_a_dependency_that_nobody_knows_any_more_lets_its_dependant_be_skipped(plane: Plane) -> None:
    """S0-40: nobody can say that it succeeded."""
    await plane.gateway("gw1", "a1")

    orphan = await plane.post("a1", after(new_id()))

    skipped = await plane.until(orphan, S.SKIPPED)
    assert skipped.error is not None
    assert skipped.error.endswith("is no longer known")


async def test_a_released_dependant_without_a_link_is_unreachable(plane: Plane) -> None:
    """S0-18, S0-40"""
    await plane.gateway("gw1", "a1")
    first = await plane.post("a1")
    second = await plane.post("nobody", after(first))
    await plane.until(second, S.WAITING)

    await end(plane, first)
    await settled(plane)

    await plane.until(second, S.UNREACHABLE)


async def test_a_returning_agent_does_not_get_what_still_depends(plane: Plane) -> None:
    """S0-40: a new link is no release."""
    gateway = await plane.gateway("gw1", "a1")
    first = await plane.post("a1")
    second = await plane.post("a2", after(first))
    await plane.until(second, S.WAITING)

    await plane.link("gw1", "a2")
    await plane.report(Accepted(command_id=first, attempt=1, agent_id="a1", at_ms=4))
    await plane.until(first, S.ACCEPTED)
    await plane.look_now(second)

    assert (await plane.view(second)).state is S.WAITING
    assert gateway.ordered == [first]


async def approve(plane: Plane, subject_id: str) -> None:
    """What the api does, and the next sweep."""
    approval = Approval(tenant="t", subject_id=subject_id, approved_by="bob", at_ms=plane.clock.now_ms())
    key = approval_key("t", subject_id)
    await plane.registry.policies.put(key, approval)
    await eventually(lambda: key in plane.registry.policies.current)
    await plane.attention.sweep()


async def test_what_needs_an_approval_waits_for_it(plane: Plane) -> None:
    """S0-29"""
    gateway = await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1", msgspec.structs.replace(SPEC, needs_approval=True))
    waiting = await plane.until(command_id, S.WAITING)
    await plane.look_now(command_id)
    assert (await plane.view(command_id)).state is S.WAITING

    await approve(plane, command_id)

    sent = await plane.until(command_id, S.SENT)
    assert (waiting.reason, sent.reason) == ("needs_approval", None)
    assert gateway.ordered == [command_id]


async def test_an_approval_of_a_batch_releases_all_its_children(plane: Plane) -> None:
    """S0-29, S0-41"""
    gateway = await plane.gateway("gw1", "a1", "a2")
    batch_id = await plane.post_batch(("a1", "a2"), msgspec.structs.replace(SPEC, needs_approval=True))
    children = [child_id(batch_id, index) for index in range(2)]
    for one in children:
        await plane.until(one, S.WAITING)

    await approve(plane, batch_id)

    for one in children:
        await plane.until(one, S.SENT)
    assert sorted(gateway.ordered) == sorted(children)


async def test_an_approval_does_not_stand_for_a_dependency(plane: Plane) -> None:
    """S0-29, S0-40: both are needed."""
    await plane.gateway("gw1", "a1")
    first = await plane.post("a1")
    second = await plane.post("a1", msgspec.structs.replace(after(first), needs_approval=True))
    await plane.until(second, S.WAITING)

    await approve(plane, second)
    assert (await plane.view(second)).state is S.WAITING
    await end(plane, first)
    await settled(plane)

    await plane.until(second, S.SENT)


async def test_old_approvals_are_forgotten(plane: Plane) -> None:
    """S0-29: when nothing can wait for them any more."""
    old, fresh = new_id(), new_id()
    await approve(plane, fresh)
    await plane.registry.policies.put(
        approval_key("t", old), Approval(tenant="t", subject_id=old, approved_by="bob", at_ms=1)
    )
    await eventually(lambda: approval_key("t", old) in plane.registry.policies.current)

    await plane.approvals.forget_old()

    await eventually(lambda: list(plane.registry.policies.current) == [approval_key("t", fresh)])
