"""Joins the pieces of an agent and runs them: credentials, executor, front. Called by main.py and by sdk.py."""

import asyncio
import importlib.metadata
import signal
from typing import Final

import structlog

from quarterdeck.agent.carriers.dial import Dialer
from quarterdeck.agent.credentials import Credentials, trusted_ca_pem
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.facts import boot_id, host_facts
from quarterdeck.agent.front import Front, FrontSettings
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.link import Profile
from quarterdeck.agent.settings import AgentSettings

log = structlog.get_logger()

_LEAVE_TIMEOUT_S: Final = 3.0


async def run_agent(
    settings: AgentSettings, handlers: Handlers | None = None, stopping: asyncio.Event | None = None
) -> None:
    """Until `stopping` is set, or, without it, until SIGTERM or SIGINT; then ends its commands and says Goodbye.

    Raises AgentRefused when no gateway will take this agent; BadAgentSettings, InvalidJoinToken, ValueError (damaged
    key file) and OSError (data directory) before anything runs.
    """
    credentials = Credentials.load(settings)
    dial = Dialer(trusted_ca_pem(settings))
    executor = Executor(settings.executor_settings(), handlers)
    front = Front(
        FrontSettings(servers=settings.servers, profile=_profile(settings)), executor, credentials, dial
    )
    if stopping is None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await executor.start()
    log.info(
        "agent.started", agent_id=settings.agent_id, servers=[str(server) for server in settings.servers]
    )
    link = asyncio.create_task(front.run(), name="agent.front")
    stop = asyncio.create_task(stopping.wait(), name="agent.stop")
    try:
        await asyncio.wait({link, stop}, return_when=asyncio.FIRST_COMPLETED)
        # With the link still up, so that the gateway hears how its commands ended.
        await executor.stop(grace_s=settings.stop_grace_s if front.linked.is_set() else 0.5)
        front.stop()
        if link.done() or front.linked.is_set():  # else it is connecting, and nobody waits for a Goodbye
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await link
    except TimeoutError:
        pass  # the gateway does not listen
    finally:
        for task in (link, stop):
            task.cancel()
        await asyncio.gather(link, stop, return_exceptions=True)
    log.info("agent.stopped", agent_id=settings.agent_id)


def _profile(settings: AgentSettings) -> Profile:
    return Profile(
        version=importlib.metadata.version("quarterdeck-agent"),
        boot_id=boot_id(),
        labels=settings.labels,
        facts=host_facts(),
        name=settings.name,
    )
