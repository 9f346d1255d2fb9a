"""Which handler gets which kind of message, and how many are handled at a time."""

import asyncio
from typing import Protocol

from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb


class MessageType:
    """Kinds of messages, by their names in the source."""

    COMMAND = pb.MESSAGE_TYPE_COMMAND
    EVENT = pb.MESSAGE_TYPE_EVENT
    QUERY = pb.MESSAGE_TYPE_QUERY
    RESPONSE = pb.MESSAGE_TYPE_RESPONSE


class NotDispatched(QuarterdeckError):
    """There is no answer but `message`: no handler has seen it, or it did not come to an end."""

    code = "not_dispatched"


class MessageHandler(Protocol):
    """Handles messages of one type; the answer, or None where there is none."""

    async def handle(self, message: pb.DataMessage) -> pb.DataMessage | None: ...


class Dispatcher:
    """Register, then `start`; `stop` ends what is being handled."""

    def __init__(self, max_concurrent: int = 64) -> None:
        self._handlers: dict[int, MessageHandler] = {}
        self._slots = asyncio.Semaphore(max_concurrent)
        self._running: set[asyncio.Task[pb.DataMessage | None]] = set()
        self._started = False

    def register_handler(self, message_type: int, handler: MessageHandler) -> None:
        """Raises ValueError when the type has a handler already."""
        if message_type in self._handlers:
            raise ValueError(f"message type {message_type} has a handler already")
        self._handlers[message_type] = handler

    def start(self) -> None:
        """From now on messages are handled; before, they are refused."""
        self._started = True

    async def stop(self, grace_s: float = 0.0) -> None:
        """Take nothing new, give what is being handled `grace_s` to end, then cancel it."""
        self._started = False
        if self._running and grace_s > 0:
            await asyncio.wait(self._running, timeout=grace_s)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def dispatch(self, message: pb.DataMessage) -> pb.DataMessage | None:
        """What the handler answers. Waits while too many others are handled.

        Raises NotDispatched when nobody handles messages of that type, or not now, or not to the end.
        """
        handler = self._handlers.get(message.type)
        if handler is None:
            raise NotDispatched(f"cannot execute: no handler for message type {message.type}")
        async with self._slots:
            if not self._started:
                raise NotDispatched("cannot execute: the client stops")
            handling = asyncio.ensure_future(handler.handle(message))
            self._running.add(handling)
            handling.add_done_callback(self._running.discard)
            try:
                return await asyncio.shield(handling)
            except asyncio.CancelledError:
                if handling.cancelled():
                    raise NotDispatched("execution failed: the client stopped") from None
                raise
