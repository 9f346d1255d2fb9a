"""Command handlers in Python: registered by command type, called with typed parameters.

Owns the order of S0's executor (validate, precheck, run, return) and its error texts. The executor calls `Handlers`;
who writes handlers uses sdk.py.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, get_type_hints

import msgspec

from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.contracts.limits import MAX_PAYLOAD_BYTES
from quarterdeck.wire.codes import ResultReason


class HandlerError(QuarterdeckError):
    """A handler did not give a result. `reason`: the ResultReason for it. `unknown`: it may have done its work."""

    code = "handler_error"

    def __init__(self, reason: ResultReason, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.unknown = unknown


class CannotExecute(Exception):
    """Raised by a handler or its precheck: not now, e.g. `CannotExecute("resource busy")`. Nothing was done."""


class HandlerContext(msgspec.Struct, frozen=True):
    """What a handler may know of the command that it executes."""

    command_id: str
    attempt: int
    command_type: str
    cancelled: threading.Event
    """Set when the command shall stop: for handlers that are plain functions. Async handlers are cancelled instead."""


class CommandExecutor(Protocol):
    """Executes a command type. `payload` and the result are JSON texts."""

    async def execute(self, command_type: str, payload: bytes, context: HandlerContext) -> bytes: ...


class CommandHandler(Protocol):
    """One command type: JSON payload in, JSON result out (empty: none)."""

    async def handle(self, payload: bytes, context: HandlerContext) -> bytes: ...


Precheck = Callable[..., str | Awaitable[str | None] | None]
"""Called with the parameters before the handler. A text says why it cannot be executed now."""


class Handlers:
    """The registry: which handler executes which command type. A CommandExecutor."""

    def __init__(self) -> None:
        self._handlers: dict[str, CommandHandler] = {}

    @property
    def command_types(self) -> tuple[str, ...]:
        return tuple(sorted(self._handlers))

    def register_handler(self, command_type: str, handler: CommandHandler) -> None:
        """Raises ValueError when the type has a handler already."""
        if command_type in self._handlers:
            raise ValueError(f"{command_type!r} has a handler already")
        self._handlers[command_type] = handler

    def __contains__(self, command_type: str) -> bool:
        return command_type in self._handlers

    async def execute(self, command_type: str, payload: bytes, context: HandlerContext) -> bytes:
        """Raises HandlerError, whatever goes wrong."""
        handler = self._handlers.get(command_type)
        if handler is None:
            raise HandlerError(ResultReason.UNKNOWN_COMMAND, f"unknown command: {command_type}")
        try:
            result = await handler.handle(payload, context)
        except HandlerError:
            raise
        except (Exception, SystemExit) as error:
            # SystemExit ends one command, and is no reason for the agent to go.
            raise _failed(error) from error
        if not isinstance(result, bytes):  # a handler of one's own may hold to less than its type says
            raise HandlerError(
                ResultReason.EXECUTION_FAILED, "execution failed: the result is no JSON text in bytes"
            )
        if len(result) > MAX_PAYLOAD_BYTES:
            raise HandlerError(
                ResultReason.EXECUTION_FAILED,
                f"execution failed: the result has more than {MAX_PAYLOAD_BYTES} bytes",
            )
        return result


class FunctionHandler:
    """A plain or async function as a CommandHandler: parameters decoded by its annotation, result encoded.

    The function takes `()`, `(params)` or `(params, context)`. Plain functions run in a thread.
    """

    def __init__(self, function: Callable[..., Any], precheck: Precheck | None = None) -> None:
        self._function = function
        self._precheck = precheck
        self._takes: Final = len(inspect.signature(function).parameters)
        self._decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_parameter_type(function))

    async def handle(self, payload: bytes, context: HandlerContext) -> bytes:
        arguments = (self._decode(payload), context)[: self._takes]
        try:
            await self._check(arguments[:1])
            result = await _call(self._function, arguments)
        except CannotExecute as refusal:
            raise HandlerError(ResultReason.CANNOT_EXECUTE, f"cannot execute: {refusal}") from refusal
        return b"" if result is None else _encode(result)

    def _decode(self, payload: bytes) -> Any:
        try:
            return self._decoder.decode(payload or b"null")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise HandlerError(ResultReason.INVALID_PAYLOAD, f"invalid payload: {error}") from error

    async def _check(self, arguments: tuple[Any, ...]) -> None:
        if self._precheck is not None and (refusal := await _call(self._precheck, arguments)):
            raise CannotExecute(refusal)


def _failed(error: BaseException) -> HandlerError:
    text = str(error) or type(error).__name__
    return HandlerError(ResultReason.EXECUTION_FAILED, f"execution failed: {text}")


def _encode(result: Any) -> bytes:
    try:
        return msgspec.json.encode(result)
    except (TypeError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HandlerError(ResultReason.EXECUTION_FAILED, f"execution failed: result: {error}") from error


async def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    running = _in_thread(function, arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # Nothing ends a thread from outside: to be cancelled means to wait until it has ended by itself.
        await asyncio.wait({running})
        raise


def _in_thread(function: Callable[..., Any], arguments: tuple[Any, ...]) -> asyncio.Future[Any]:
    """A thread per call: calls are bounded by the executor already, and a daemon thread does not hold up an exit."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not outcome.done():
            outcome.set_exception(error) if error is not None else outcome.set_result(result)

    def run() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = function(*arguments)
        except StopIteration as raised:  # no Future takes it. Source: PEP 479
            error = _failed(raised)
        except BaseException as raised:  # noqa: BLE001 - carried over to the task that waits
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the agent has stopped meanwhile: nobody waits any more

    threading.Thread(target=run, name=f"handler.{getattr(function, '__name__', '')}", daemon=True).start()
    return outcome


def _parameter_type(function: Callable[..., Any]) -> Any:
    """The annotation of the first parameter; any JSON value when there is none."""
    hints: Mapping[str, Any] = get_type_hints(function)
    first = next(iter(inspect.signature(function).parameters), None)
    return hints.get(first, Any) if first is not None else Any
