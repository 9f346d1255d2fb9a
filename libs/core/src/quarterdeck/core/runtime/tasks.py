"""Background tasks of a service. One that raises takes the service down with it: nothing dies unnoticed.

Owns the tasks from `spawn` to `close`. Waiting for `crashed` is the runtime's.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


class TaskSet:
    """Tasks that belong together."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.crashed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Resolves with the first exception that a task let out."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `coroutine` in the background. Returning is fine; raising crashes the service."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        log.error("runtime.task_crashed", task=task.get_name(), exc_info=error)
        if not self.crashed.done():
            self.crashed.set_result(error)
