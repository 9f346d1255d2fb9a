"""The front as a process of its own: a child of the executor, or a unit beside it.

Owns the life of that process: settings from stdin, when to leave, and saying why it could not go on. May be killed at
any moment: all it holds is a key, an enrolment (both on disk) and frames that will be said again.
"""

import asyncio
import ctypes
import importlib.metadata
import os
import signal
import sys
from types import FrameType
from typing import Final

import structlog

from quarterdeck.agent.carriers.dial import Dialer
from quarterdeck.agent.credentials import Credentials, trusted_ca_pem
from quarterdeck.agent.errors import AgentRefused, BadAgentSettings
from quarterdeck.agent.executor_client import RemoteExecutor
from quarterdeck.agent.facts import boot_id, host_facts
from quarterdeck.agent.front import Front, FrontSettings
from quarterdeck.agent.front_launch import EXIT_REFUSED, EXIT_USAGE, FrontEnd, decode_launch, encode_end
from quarterdeck.agent.link import Profile
from quarterdeck.agent.ports import JoinExecutor
from quarterdeck.agent.settings import AgentSettings
from quarterdeck.core import failpoints
from quarterdeck.core.collector import calm_collector
from quarterdeck.core.logging import configure
from quarterdeck.wire.join_token import InvalidJoinToken

log = structlog.get_logger()

LEAVE_TIMEOUT_S: Final = 3.0
"""For a Goodbye and an orderly end of the connection."""
_SETTLED_S: Final = 3.0
"""After this a front that found its gateway has loaded all it needs."""
_PR_SET_PDEATHSIG: Final = 1
_STDIN: Final = 0
_STDOUT: Final = 1


def main() -> int:
    """A child's whole life. Returns the exit code."""
    settings = decode_launch(sys.stdin.buffer.readline()).settings
    configure(
        settings.front_log_format,
        settings.front_log_level,
        service="agent",
        service_id=settings.agent_id,
        process="front",
    )
    failpoints.arm(settings.failpoints, settings.failpoints_dir)
    _outlive_no_executor()
    try:
        asyncio.run(_live_as_child(settings))
    except AgentRefused as refused:
        return _end(EXIT_REFUSED, FrontEnd(code=refused.code, reason=refused.reason, message=refused.message))
    except (BadAgentSettings, InvalidJoinToken) as error:
        return _end(EXIT_USAGE, FrontEnd(code=error.code, reason=error.field or "", message=error.message))
    except (OSError, ValueError) as error:  # key and enrolment cannot be read or kept
        return _end(EXIT_USAGE, FrontEnd(code=BadAgentSettings.code, reason="data_dir", message=str(error)))
    return 0


def build_front(settings: AgentSettings, join_executor: JoinExecutor) -> Front:
    """Raises BadAgentSettings, InvalidJoinToken, ValueError (damaged key file) and OSError (data directory)."""
    credentials = Credentials.load(settings)
    profile = Profile(
        version=importlib.metadata.version("quarterdeck-agent"),
        boot_id=boot_id(),
        labels=settings.labels,
        facts=host_facts(),
        name=settings.name,
    )
    return Front(
        FrontSettings(servers=settings.servers, profile=profile),
        join_executor,
        credentials,
        Dialer(trusted_ca_pem(settings)),
    )


async def run_front(settings: AgentSettings, leaving: asyncio.Event) -> None:
    """A front for the executor of `settings.socket_dir`, until `leaving` is set. Raises AgentRefused, and as above."""
    front = build_front(settings, RemoteExecutor(settings.socket_dir))
    # Not at once: the carrier's library, most of all that is ever loaded, comes with the first link.
    asyncio.get_running_loop().call_later(_SETTLED_S, calm_collector)
    log.info(
        "front.started", agent_id=settings.agent_id, servers=[str(server) for server in settings.servers]
    )
    running = asyncio.create_task(front.run(), name="front")
    told = asyncio.create_task(leaving.wait(), name="front.told_to_leave")
    try:
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
        front.stop()
        async with asyncio.timeout(LEAVE_TIMEOUT_S if front.linked.is_set() else 0):
            await running
    except TimeoutError:
        pass  # the gateway does not listen, or there is none
    finally:
        for task in (running, told):
            task.cancel()
        await asyncio.gather(running, told, return_exceptions=True)
    log.info("front.stopped", agent_id=settings.agent_id)


async def _live_as_child(settings: AgentSettings) -> None:
    """Until stdin ends."""
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stdin_ended() -> None:
        loop.remove_reader(_STDIN)
        leaving.set()

    loop.add_reader(_STDIN, stdin_ended)  # nothing more is ever written to it
    await run_front(settings, leaving)


def _outlive_no_executor() -> None:
    """The end of stdin tells us to leave. In case that nobody here listens any more, the kernel's word ends us."""
    executor_pid = os.getppid()

    def executor_died(_number: int, _frame: FrameType | None) -> None:
        if (
            os.getppid() != executor_pid
        ):  # else it was meant for the whole agent, and the executor tells us when to go
            signal.alarm(int(LEAVE_TIMEOUT_S) + 1)

    signal.signal(signal.SIGTERM, executor_died)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _end(exit_code: int, end: FrontEnd) -> int:
    os.write(_STDOUT, encode_end(end))
    return exit_code
