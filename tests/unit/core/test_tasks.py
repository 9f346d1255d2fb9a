"""Background tasks do not die unnoticed."""

import asyncio

from quarterdeck.core.runtime.tasks import TaskSet


async def test_task_that_raises_is_a_crash() -> None:
    tasks = TaskSet()

    async def explode() -> None:
        raise ZeroDivisionError

    tasks.spawn(explode(), "explode")

    assert isinstance(await asyncio.wait_for(tasks.crashed, 10), ZeroDivisionError)


async def test_task_that_returns_or_is_cancelled_is_none() -> None:
    tasks = TaskSet()
    done = tasks.spawn(asyncio.sleep(0), "done")
    endless = tasks.spawn(asyncio.Event().wait(), "endless")
    await done

    await tasks.close()

    assert endless.cancelled()
    assert not tasks.crashed.done()
