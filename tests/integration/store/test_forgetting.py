"""What has ended is forgotten when its time is over, and a child not before its batch."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.contracts.ids import child_id, new_id
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import Child, Move, Store, StoreSettings
from quarterdeck.core.store.scripts import Lifetimes
from quarterdeck.testing.eventually import eventually
from tests.integration.store.samples import SPEC, a_batch

S = CommandState
TTL_S = 1


@pytest.fixture
async def forgetful(shared_redis_url: str) -> AsyncIterator[Store]:
    lifetimes = Lifetimes(batch_ttl_s=TTL_S, command_ttl_s=TTL_S)
    store = Store(StoreSettings(url=shared_redis_url, lifetimes=lifetimes))
    await store.initialise()
    yield store
    await store.close()


async def _running_batch(store: Store) -> str:
    """Of two; the first has succeeded."""
    batch_id, now_ms = new_id(), await store.runner.now_ms()
    await store.create_batch(a_batch(batch_id, ("a1", "a2"), created_at_ms=now_ms))
    await store.expand(
        tenant="t",
        user_id="u",
        batch_id=batch_id,
        spec=SPEC,
        created_at_ms=now_ms,
        at_ms=now_ms,
        children=[Child(child_id(batch_id, index), f"a{index + 1}", None, S.SENT) for index in range(2)],
    )
    await store.apply([Move(child_id(batch_id, 0), 1, S.SUCCEEDED, now_ms)])
    return batch_id


async def _swept_for(store: Store, seconds: float) -> None:
    """By Redis' own clock."""
    until_ms = await store.runner.now_ms() + seconds * 1000

    async def over() -> bool:
        await store.sweep_indexes()
        return await store.runner.now_ms() > until_ms

    await eventually(over)


async def test_child_stays_as_long_as_its_batch_runs(forgetful: Store) -> None:
    """I3, S4-22: however long that is after its own end."""
    batch_id = await _running_batch(forgetful)
    first, second = child_id(batch_id, 0), child_id(batch_id, 1)

    await _swept_for(forgetful, 3.5 * TTL_S)

    batch = await forgetful.batch("t", batch_id)
    assert batch is not None
    assert batch.counts == {S.SUCCEEDED: 1, S.SENT: 1}
    assert [child.state for child in await forgetful.children(batch)] == [S.SUCCEEDED, S.SENT]
    assert set((await forgetful.list_commands("t")).ids) == {first, second}


async def test_batch_is_forgotten_with_its_children(forgetful: Store) -> None:
    """S0-9, S0-17"""
    batch_id = await _running_batch(forgetful)
    children = [child_id(batch_id, index) for index in range(2)]
    await _swept_for(forgetful, 1.5 * TTL_S)
    await forgetful.apply([Move(children[1], 1, S.SUCCEEDED, await forgetful.runner.now_ms())])

    async def forgotten() -> bool:
        await forgetful.sweep_indexes()
        return (
            not (await forgetful.list_commands("t")).total and not (await forgetful.list_batches("t")).total
        )

    await eventually(forgotten)

    assert await forgetful.batch("t", batch_id) is None
    assert await forgetful.commands("t", children) == []


async def test_child_is_not_there_once_its_batch_is_not(forgetful: Store) -> None:
    """The sweep may come later."""
    batch_id = await _running_batch(forgetful)
    await forgetful.apply([Move(child_id(batch_id, 1), 1, S.SUCCEEDED, await forgetful.runner.now_ms())])

    async def gone() -> bool:
        return await forgetful.batch("t", batch_id) is None

    await eventually(gone)

    assert await forgetful.command("t", child_id(batch_id, 1)) is None
