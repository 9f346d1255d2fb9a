"""The handler SDK: typed parameters, the order validate → precheck → run, and the error texts of the source system."""

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from quarterdeck.agent.handlers import CannotExecute, HandlerContext, Handlers
from quarterdeck.agent.samples import SampleCommands
from quarterdeck.agent.sdk import Agent
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation


class RestartParams(msgspec.Struct):
    delay_seconds: int


class RestartResult(msgspec.Struct):
    success: bool
    message: str


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def handlers(agent: Agent) -> Handlers:
    """The executor of these tests runs the handlers that a test gives to `agent`."""
    return agent.handlers


async def failure(link: Conversation, command_type: str, payload: object) -> tuple[str, str]:
    result = await link.result(await link.order(command_type, payload))
    assert result.end == pb.FAILED
    return result.reason, result.error


async def test_typed_handler_gets_its_parameters_and_gives_its_result(
    link: Conversation, agent: Agent
) -> None:
    """S0-11 S0-13: registered by command type, parameters decoded, result encoded."""
    seen: list[Any] = []

    @agent.handler("restart")
    async def restart(params: RestartParams, context: HandlerContext) -> RestartResult:
        seen.append((params, context.command_type))
        return RestartResult(success=True, message="Restarted")

    key = await link.order("restart", {"delay_seconds": 5})
    result = await link.result(key)

    assert (result.end, result.result) == (pb.SUCCEEDED, b'{"success":true,"message":"Restarted"}')
    assert seen == [(RestartParams(5), "restart")]
    assert [type(report) for report in link.reports] == [pb.Accepted, pb.Started, pb.Result]


async def test_plain_functions_of_every_arity_run(link: Conversation, agent: Agent) -> None:
    threads: list[str] = []

    @agent.handler("none")
    def none() -> None:
        threads.append(threading.current_thread().name)

    @agent.handler("untyped")
    def untyped(params):  # type: ignore[no-untyped-def]
        return {"got": params}

    nothing = await link.result(await link.order("none", {}))
    something = await link.result(await link.order("untyped", {"a": [1, None]}))

    assert (nothing.end, nothing.result) == (pb.SUCCEEDED, b"")
    assert (something.end, something.result) == (pb.SUCCEEDED, b'{"got":{"a":[1,null]}}')
    assert threads == ["handler.none"]


async def test_unknown_command_type_fails_by_its_name(link: Conversation) -> None:
    """S0-12"""
    assert await failure(link, "self_destruct", {}) == ("unknown_command", "unknown command: self_destruct")


async def test_payload_that_does_not_fit_never_reaches_the_handler(link: Conversation, agent: Agent) -> None:
    """S0-21 S0-28"""
    calls: list[RestartParams] = []

    @agent.handler("restart", precheck=calls.append)
    async def restart(params: RestartParams) -> None:
        calls.append(params)

    payloads: list[object] = [{"delay_seconds": "soon"}, {}, [], b"no json", b""]
    for payload in payloads:
        reason, error = await failure(link, "restart", payload)
        assert reason == "invalid_payload"
        assert error.startswith("invalid payload: ")
    assert calls == []


async def test_precheck_decides_before_anything_runs(link: Conversation, agent: Agent) -> None:
    """S0-21: resource busy."""
    calls: list[RestartParams] = []

    def busy(params: RestartParams) -> str | None:
        return "resource busy" if params.delay_seconds else None

    @agent.handler("restart", precheck=busy)
    async def restart(params: RestartParams) -> None:
        calls.append(params)

    refused = await failure(link, "restart", {"delay_seconds": 1})
    allowed = await link.result(await link.order("restart", {"delay_seconds": 0}))

    assert refused == ("cannot_execute", "cannot execute: resource busy")
    assert (allowed.end, calls) == (pb.SUCCEEDED, [RestartParams(0)])


async def test_handler_that_raises_says_why(link: Conversation, agent: Agent) -> None:
    """S0-20 S0-21"""

    @agent.handler("broken")
    async def broken() -> None:
        raise RuntimeError("disk on fire")

    @agent.handler("unwilling")
    def unwilling() -> None:
        raise CannotExecute("resource busy")

    @agent.handler("odd")
    def odd() -> object:
        return object()

    assert await failure(link, "broken", {}) == ("execution_failed", "execution failed: disk on fire")
    assert await failure(link, "unwilling", {}) == ("cannot_execute", "cannot execute: resource busy")
    assert (await failure(link, "odd", {}))[0] == "execution_failed"


async def test_result_beyond_the_limit_is_an_error_not_a_broken_link(
    link: Conversation, agent: Agent
) -> None:
    @agent.handler("huge")
    def huge() -> str:
        return "x" * 300_000

    reason, error = await failure(link, "huge", {})

    assert (reason, error.startswith("execution failed: the result has more than")) == (
        "execution_failed",
        True,
    )


async def test_async_handler_is_cancelled_by_terminate_and_by_its_timeout(
    link: Conversation, agent: Agent
) -> None:
    """S4-24 S4-29, for handlers."""
    cleaned: list[str] = []

    @agent.handler("wait")
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("up")

    key = await link.order("wait", {})
    await link.report(key, pb.Started)
    await link.terminate(key)
    terminated = await link.result(key)
    timed_out = await link.result(await link.order("wait", {}, timeout_ms=50))

    assert terminated.end == pb.TERMINATED
    assert (timed_out.end, timed_out.reason) == (pb.TIMED_OUT, "execution")
    assert cleaned == ["up", "up"]


async def test_thread_that_heeds_the_cancel_is_terminated(link: Conversation, agent: Agent) -> None:
    @agent.handler("heed")
    def heed(params: Any, context: HandlerContext) -> None:
        context.cancelled.wait(20)

    key = await link.order("heed", {})
    await link.report(key, pb.Started)
    await link.terminate(key)

    assert (await link.result(key)).end == pb.TERMINATED


async def test_thread_that_does_not_stop_is_never_called_terminated(link: Conversation, agent: Agent) -> None:
    """I3 I8: what cannot be proven is outcome_unknown."""
    release = threading.Event()

    @agent.handler("stubborn")
    def stubborn() -> None:
        release.wait(20)

    key = await link.order("stubborn", {})
    await link.report(key, pb.Started)
    await link.terminate(key, grace_ms=50)
    result = await link.result(key)
    release.set()

    assert (result.end, result.reason) == (pb.OUTCOME_UNKNOWN, "not_proven")


async def test_blocking_handler_does_not_hold_up_other_commands(link: Conversation, agent: Agent) -> None:
    release = threading.Event()

    @agent.handler("block")
    def block() -> None:
        release.wait(20)

    blocked = await link.order("block", {})

    assert (await link.run("echo quick")).end == pb.SUCCEEDED
    release.set()
    assert (await link.result(blocked)).end == pb.SUCCEEDED


async def test_sample_commands_answer_as_in_the_source_system(link: Conversation, agent: Agent) -> None:
    """S0-15 S0-21: restart waits, refuses a second one meanwhile, checks its delay; update_config remembers."""
    samples = SampleCommands()
    samples.register(agent.handlers)
    first = await link.order("restart", {"delay_seconds": 0.3})
    await link.report(first, pb.Started)

    busy = await failure(link, "restart", {})
    absurd = await failure(link, "restart", {"delay_seconds": -1})
    restarted = await link.result(first)
    updated = await link.result(await link.order("update_config", {"config": {"level": "debug"}}))

    assert busy == ("cannot_execute", "cannot execute: resource busy")
    assert absurd[0] == "invalid_payload"
    assert restarted.result == b'{"success":true,"message":"Restarted"}'
    assert (updated.end, samples.config) == (pb.SUCCEEDED, {"level": "debug"})


def test_a_type_has_one_handler(agent: Agent) -> None:
    def handle() -> None: ...

    agent.handler("once")(handle)

    with pytest.raises(ValueError, match="once"):
        agent.handler("once")(handle)
