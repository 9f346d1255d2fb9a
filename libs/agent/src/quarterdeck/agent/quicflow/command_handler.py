"""Commands on a quicflow client: parsed, given to the executor, answered. A MessageHandler of the dispatcher."""

import asyncio
import threading
from typing import Final, Protocol

import structlog

from quarterdeck.agent.handlers import HandlerContext, HandlerError, Handlers
from quarterdeck.agent.quicflow.executor import CommandExecutor, InvalidPayload, execute
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.wire import quicflow
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb
from quarterdeck.wire.codes import ResultReason

log = structlog.get_logger()

MAX_RESULT_BYTES: Final = quicflow.MAX_FRAME_BYTES - 64 * 1024
"""A frame holds the answer around it, too."""


class NamedClient(Protocol):
    """What the handler needs of the client that it answers for."""

    @property
    def client_id(self) -> str: ...


class CommandHandler:
    """`executor`: what executes the commands; the handlers of an `Agent` are one."""

    def __init__(
        self, client: NamedClient, executor: CommandExecutor | Handlers, *, clock: Clock | None = None
    ) -> None:
        self._client = client
        self._executor = executor
        self._clock = clock or SystemClock()

    async def handle(self, message: pb.DataMessage) -> pb.DataMessage:
        """The RESPONSE with the answer. Raises nothing but CancelledError: what goes wrong is the answer."""
        answer = await self._answer(message)
        return quicflow.response(answer, self._client.client_id, self._clock.now_ms())

    async def _answer(self, message: pb.DataMessage) -> pb.AckMessage:
        try:
            result = await self._execute(message)
        except HandlerError as error:
            log.info("client.command_failed", command_id=message.msg_id, reason=str(error.reason))
            return pb.AckMessage(msg_id=message.msg_id, status=pb.ACK_STATUS_FAILURE, error=error.message)
        log.info("client.command_completed", command_id=message.msg_id)
        return pb.AckMessage(msg_id=message.msg_id, status=pb.ACK_STATUS_SUCCESS, result=result)

    async def _execute(self, message: pb.DataMessage) -> bytes:
        try:
            ordered = quicflow.read_command(message)
        except DecodeError as error:
            raise InvalidPayload(error.message) from error
        context = HandlerContext(message.msg_id, 1, ordered.command_type, threading.Event())
        try:
            result = await execute(self._executor, bytes(ordered.payload), context)
        except asyncio.CancelledError:
            context.cancelled.set()
            raise
        if len(result) > MAX_RESULT_BYTES:
            text = f"execution failed: the result has {len(result)} bytes, limit {MAX_RESULT_BYTES}"
            raise HandlerError(ResultReason.EXECUTION_FAILED, text)
        return result
