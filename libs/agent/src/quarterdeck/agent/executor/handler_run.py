"""One command as a call of a Python handler, from its start to an outcome.

An async handler is cancelled when the command shall stop. A plain function runs in a thread, which nothing can end: it
is asked to (context.cancelled), and when it goes on beyond the grace, the outcome is said to be unknown.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from quarterdeck.agent.executor.outcome import Outcome, RunStarted, StopOrder
from quarterdeck.agent.handlers import CommandExecutor, HandlerContext, HandlerError
from quarterdeck.core.clock import Clock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ResultReason

log = structlog.get_logger()

_CANCEL_LATENCY_S: Final = 0.2
"""At least this long for a cancelled handler to unwind, however short the grace."""


class HandlerSpec(msgspec.Struct, frozen=True, kw_only=True):
    command_id: str
    attempt: int
    command_type: str
    payload: bytes
    timeout_s: float | None
    grace_s: float


class HandlerRun:
    """Runs once. `stop` may come at any time, also before `execute`."""

    def __init__(self, spec: HandlerSpec, executor: CommandExecutor, clock: Clock) -> None:
        self._spec = spec
        self._executor = executor
        self._clock = clock
        self._context = HandlerContext(spec.command_id, spec.attempt, spec.command_type, threading.Event())
        self._stopped: asyncio.Future[StopOrder] = asyncio.get_running_loop().create_future()

    def stop(self, order: StopOrder) -> None:
        """End it. The first order counts."""
        if not self._stopped.done():
            self._stopped.set_result(order)

    def make_way(self) -> None:
        """Handlers have no output."""

    async def execute(self, on_started: Callable[[RunStarted], None]) -> Outcome:
        """To the end. Never raises for what a handler does."""
        if self._stopped.done():
            order = self._stopped.result()
            return Outcome(end=order.end, reason=order.reason)
        spec = self._spec
        started_at_ms = self._clock.now_ms()
        on_started(RunStarted(started_at_ms))
        call: asyncio.Future[bytes] = asyncio.ensure_future(
            self._executor.execute(spec.command_type, spec.payload, self._context)
        )
        both: set[asyncio.Future[Any]] = {call, self._stopped}
        await asyncio.wait(both, timeout=spec.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if call.done():
            return _outcome_of(call, started_at_ms)
        self.stop(StopOrder(pb.TIMED_OUT, ResultReason.EXECUTION, spec.grace_s))
        return await self._end(call, self._stopped.result(), started_at_ms)

    async def _end(self, call: "asyncio.Future[bytes]", order: StopOrder, started_at_ms: int) -> Outcome:
        self._context.cancelled.set()
        call.cancel()
        await asyncio.wait({call}, timeout=max(order.grace_s, _CANCEL_LATENCY_S))
        if not call.done():
            log.warning("executor.handler_outlived_grace", command_id=self._spec.command_id)
            return Outcome(
                end=pb.OUTCOME_UNKNOWN,
                reason=ResultReason.NOT_PROVEN,
                error="the handler did not stop",
                started_at_ms=started_at_ms,
            )
        if not call.cancelled() and call.exception() is None:  # it was done before it could be stopped
            return _outcome_of(call, started_at_ms)
        return Outcome(end=order.end, reason=order.reason, started_at_ms=started_at_ms)


def _outcome_of(call: "asyncio.Future[bytes]", started_at_ms: int) -> Outcome:
    try:
        return Outcome(end=pb.SUCCEEDED, result=call.result(), started_at_ms=started_at_ms)
    except HandlerError as error:
        end = pb.OUTCOME_UNKNOWN if error.unknown else pb.FAILED
        return Outcome(end=end, reason=error.reason, error=error.message, started_at_ms=started_at_ms)
    except asyncio.CancelledError:
        text = "execution failed: the handler cancelled itself"
        return Outcome(
            end=pb.FAILED, reason=ResultReason.EXECUTION_FAILED, error=text, started_at_ms=started_at_ms
        )
