"""What executes commands, and the errors that it may raise. The texts are those of the source system.

CommandExecutor's `execute` raises
    UnknownCommand      `unknown command: X`
    InvalidPayload      `invalid payload: …`
    CannotExecute       `cannot execute: …`: not now, nothing was done
    anything else       `execution failed: …`
"""

from typing import Protocol

from quarterdeck.agent.handlers import CannotExecute, HandlerContext, HandlerError, Handlers
from quarterdeck.wire.codes import ResultReason

__all__ = ["CannotExecute", "CommandExecutor", "InvalidPayload", "UnknownCommand", "execute"]


class CommandExecutor(Protocol):
    """The business side. `payload` and the result are JSON texts."""

    async def execute(self, command_type: str, payload: bytes) -> bytes: ...


class UnknownCommand(HandlerError):
    code = "unknown_command"

    def __init__(self, command_type: str) -> None:
        super().__init__(ResultReason.UNKNOWN_COMMAND, f"unknown command: {command_type}")


class InvalidPayload(HandlerError):
    code = "invalid_payload"

    def __init__(self, detail: str) -> None:
        super().__init__(ResultReason.INVALID_PAYLOAD, f"invalid payload: {detail}")


async def execute(executor: CommandExecutor | Handlers, payload: bytes, context: HandlerContext) -> bytes:
    """The result of one command. Raises HandlerError, whatever goes wrong."""
    if isinstance(executor, Handlers):
        return await executor.execute(context.command_type, payload, context)
    try:
        return await executor.execute(context.command_type, payload)
    except HandlerError:
        raise
    except CannotExecute as refusal:
        raise HandlerError(ResultReason.CANNOT_EXECUTE, f"cannot execute: {refusal}") from refusal
    except Exception as error:
        text = str(error) or type(error).__name__
        raise HandlerError(ResultReason.EXECUTION_FAILED, f"execution failed: {text}") from error
