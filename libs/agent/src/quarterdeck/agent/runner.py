"""Runs an agent in the shape that its settings ask for: executor with front, one of the two, or both in one process.

Called by main.py and by sdk.py. The executor's process loads neither a carrier nor cryptography: what the front needs
is imported where a front runs.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.executor_server import ExecutorServer
from quarterdeck.agent.front_child import FrontChild, FrontUser
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.inventory import register_inventory
from quarterdeck.agent.ports import SharedProcess
from quarterdeck.agent.settings import AgentSettings, Role

log = structlog.get_logger()

_UNHEARD_GRACE_S = 0.5
"""For commands to end while no gateway hears of it; the journal keeps what they came to."""


async def run_agent(
    settings: AgentSettings, handlers: Handlers | None = None, stopping: asyncio.Event | None = None
) -> None:
    """Until `stopping` is set, or, without it, until SIGTERM or SIGINT; then ends its commands and says Goodbye.

    Raises AgentRefused when no gateway will take this agent; BadAgentSettings (in one process also InvalidJoinToken,
    and ValueError for a damaged key file) and OSError (directories) for what it cannot work with.
    """
    if stopping is None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    match settings.role:
        case Role.FRONT:
            from quarterdeck.agent.front_process import run_front

            await run_front(settings, stopping)
        case Role.SINGLE:
            await _run_single(settings, handlers, stopping)
        case _:
            await _run_executor(settings, handlers, stopping)


async def _run_executor(settings: AgentSettings, handlers: Handlers | None, stopping: asyncio.Event) -> None:
    user = FrontUser.find(settings.front_user) if settings.front_user is not None else None
    executor = _executor(settings, handlers)
    server = ExecutorServer(executor, settings.socket_dir, user.uid if user is not None else None)
    front = FrontChild(settings, user) if settings.role is Role.AGENT else None
    await executor.start()
    await server.start()
    log.info("agent.started", agent_id=settings.agent_id, role=settings.role)

    async def leave() -> None:
        # With the link still up, so that the gateway hears how the commands ended.
        await executor.stop(grace_s=settings.stop_grace_s if server.linked else _UNHEARD_GRACE_S)
        if front is not None:
            await front.stop()

    try:
        await _until_stopped(front.run if front is not None else None, leave, stopping)
    finally:
        await server.close()
    log.info("agent.stopped", agent_id=settings.agent_id)


async def _run_single(settings: AgentSettings, handlers: Handlers | None, stopping: asyncio.Event) -> None:
    from quarterdeck.agent.front_process import LEAVE_TIMEOUT_S, build_front

    executor = _executor(settings, handlers)
    front = build_front(settings, SharedProcess(executor))
    await executor.start()
    log.info("agent.started", agent_id=settings.agent_id, role=settings.role)
    running = asyncio.create_task(front.run(), name="agent.front")

    async def leave() -> None:
        linked = front.linked.is_set()
        await executor.stop(grace_s=settings.stop_grace_s if linked else _UNHEARD_GRACE_S)
        front.stop()
        if front.linked.is_set():  # else it is connecting, and nobody waits for a Goodbye
            await asyncio.wait({running}, timeout=LEAVE_TIMEOUT_S)

    try:
        await _until_stopped(lambda: running, leave, stopping)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    log.info("agent.stopped", agent_id=settings.agent_id)


def _executor(settings: AgentSettings, handlers: Handlers | None) -> Executor:
    known = handlers or Handlers()
    register_inventory(known, settings.catalogue)
    return Executor(settings.executor_settings(), known)


async def _until_stopped(
    run_front: Callable[[], Awaitable[None]] | None,
    leave: Callable[[], Awaitable[None]],
    stopping: asyncio.Event,
) -> None:
    """Waits for `stopping`, or for a front that cannot go on, whose error it raises; `leave` comes before both."""
    told = asyncio.create_task(stopping.wait(), name="agent.stop")
    tasks: set[asyncio.Future[Any]] = {told}
    front = asyncio.ensure_future(run_front()) if run_front is not None else None
    if front is not None:
        tasks.add(front)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await leave()
        if front is not None and front.done():
            front.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
