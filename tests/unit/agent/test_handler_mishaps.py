"""Handlers that end in ways nobody wrote them for: their commands end all the same, and nothing else is harmed."""

import msgspec
import pytest

from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.handlers import HandlerContext, Handlers
from quarterdeck.agent.sdk import Agent
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def handlers(agent: Agent) -> Handlers:
    """The executor of these tests runs the handlers that a test gives to `agent`."""
    return agent.handlers


async def failure(link: Conversation, command_type: str) -> tuple[str, str]:
    result = await link.result(await link.order(command_type, {}), timeout_s=10)
    assert result.end == pb.FAILED
    return result.reason, result.error


async def test_function_whose_iterator_ran_dry_fails(link: Conversation, agent: Agent) -> None:
    """S0-20: no Future takes a StopIteration, so it must not be left to one."""

    @agent.handler("dry")
    def dry() -> object:
        return next(iter(()))

    assert await failure(link, "dry") == ("execution_failed", "execution failed: StopIteration")


async def test_handler_that_exits_ends_its_command_and_not_the_agent(
    link: Conversation, agent: Agent
) -> None:
    """S0-20 S1-4: `sys.exit` in a handler is one command's failure."""

    @agent.handler("plain")
    def plain() -> None:
        raise SystemExit(3)

    @agent.handler("async")
    async def coroutine() -> None:
        raise SystemExit("no licence")

    assert await failure(link, "plain") == ("execution_failed", "execution failed: 3")
    assert await failure(link, "async") == ("execution_failed", "execution failed: no licence")


async def test_error_that_is_no_unicode_is_told(link: Conversation, agent: Agent) -> None:
    """S0-20: the name of a file may be any bytes, which Python keeps as surrogates."""

    @agent.handler("odd-name")
    def odd_name() -> None:
        raise ValueError("no such disk: \udcff")

    assert await failure(link, "odd-name") == ("execution_failed", "execution failed: no such disk: ?")


async def test_error_without_end_is_cut(link: Conversation, agent: Agent) -> None:
    """S0-20 I9: an error's text is for people, and fits on every link."""

    @agent.handler("verbose")
    def verbose() -> None:
        raise ValueError("ä" * 5_000_000)

    reason, error = await failure(link, "verbose")

    assert reason == "execution_failed"
    assert error.startswith("execution failed: ää")
    assert 1000 < len(error.encode()) < 20_000


async def test_large_results_that_nobody_confirms_hold_back_the_next_start(
    settings: ExecutorSettings, agent: Agent
) -> None:
    """I9: results count like output in what the agent holds in memory."""

    @agent.handler("large")
    async def large() -> str:
        return "x" * 200_000

    settings = msgspec.structs.replace(settings, max_retained_bytes=1_000_000, max_parallel=1)
    executor = Executor(settings, agent.handlers)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    link.ack_reports = False

    keys = [await link.order("large", {}) for _ in range(20)]
    for key in keys[:5]:
        await link.result(key)
    for key in keys:
        await link.report(key, pb.Accepted)
    started = sum(bool(link.of(key, pb.Started)) for key in keys)
    link.ack_reports = True
    await link.open()
    for key in keys:
        await link.result(key)

    assert started == 5
    await link.cut()
    await executor.stop(grace_s=0.2)


class _Raw:
    """A CommandHandler that is no function of the SDK's."""

    def __init__(self, result: object) -> None:
        self._result = result

    async def handle(self, payload: bytes, context: HandlerContext) -> bytes:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result  # type: ignore[return-value]  # the mistake that is tried


@pytest.mark.parametrize("result", [KeyError("disk"), "text", None])
async def test_handler_of_ones_own_that_breaks_its_promise_fails(
    link: Conversation, agent: Agent, result: object
) -> None:
    """S0-20: whatever comes of it."""
    agent.handlers.register_handler("raw", _Raw(result))

    reason, error = await failure(link, "raw")

    assert (reason, error.startswith("execution failed: ")) == ("execution_failed", True)
