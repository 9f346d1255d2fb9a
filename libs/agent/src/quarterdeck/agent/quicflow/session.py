"""One connection of a quicflow client, from the first PING to its end: heartbeats out, messages in, answers out."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol

import structlog

from quarterdeck.agent.errors import ConnectionLost
from quarterdeck.agent.quicflow.dispatcher import Dispatcher, NotDispatched
from quarterdeck.agent.quicflow.settings import QuicflowSettings
from quarterdeck.core.clock import Clock
from quarterdeck.wire import quicflow
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb
from quarterdeck.wire.quicflow_streams import StreamFrame

log = structlog.get_logger()

_ANSWER_TIMEOUT_S: Final = 10.0
"""How long the first PONG may take."""


class StreamConnection(Protocol):
    """What a session needs of its carrier. Errors: see carriers/quic/backbone.py."""

    def new_stream(self) -> int: ...
    async def send(self, sent: StreamFrame) -> None: ...
    async def receive(self) -> StreamFrame: ...
    async def close(self) -> None: ...


class Session:
    """Runs once. `dispatcher`: None: commands are answered with a failure, as nobody executes them."""

    def __init__(
        self,
        connection: StreamConnection,
        settings: QuicflowSettings,
        dispatcher: Dispatcher | None,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._dispatcher = dispatcher
        self._clock = clock
        self._unanswered_pings = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """The first PING and its PONG. Raises ConnectionLost, LinkEnded (turned away), DecodeError."""
        await self._ping()
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                while self._unanswered_pings:
                    await self._take(await self._connection.receive())
        except TimeoutError:
            raise ConnectionLost("the server did not answer the first PING") from None

    async def serve(self) -> None:
        """Until the connection ends, and with the error that says why: as `open`."""
        heartbeats = asyncio.create_task(self._keep_pinging(), name="quicflow.heartbeats")
        reading = asyncio.create_task(self._read(), name="quicflow.reading")
        try:
            done, _ = await asyncio.wait({heartbeats, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (heartbeats, reading):
                task.cancel()
            await asyncio.gather(heartbeats, reading, return_exceptions=True)

    async def send(self, message: pb.DataMessage, stream_id: int | None = None) -> None:
        """On a stream of our own unless told which. Raises ConnectionLost."""
        await self._send(quicflow.data(message), stream_id)

    async def answered(self) -> None:
        """Returns when every message that came has its answer."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _read(self) -> None:
        while True:
            await self._take(await self._connection.receive())

    async def _take(self, received: StreamFrame) -> None:
        frame = quicflow.read_frame(received.frame)
        match frame.type:
            case pb.FRAME_TYPE_PONG:
                self._unanswered_pings = 0
            case pb.FRAME_TYPE_DATA:
                self._spawn(self._handle(quicflow.read_data(frame), received.stream_id))
            case _:
                log.debug("client.frame_ignored", type=int(frame.type))

    async def _handle(self, message: pb.DataMessage, stream_id: int) -> None:
        """A message ends with its answer on its stream, when it waits for one."""
        try:
            answer = await self._dispatch(message)
            if answer is not None and message.wait_ack:
                await self.send(answer, stream_id)
        except ConnectionLost:
            log.warning("client.answer_lost", command_id=message.msg_id)

    async def _dispatch(self, message: pb.DataMessage) -> pb.DataMessage | None:
        try:
            if self._dispatcher is None:
                raise NotDispatched("cannot execute: no dispatcher configured")
            return await self._dispatcher.dispatch(message)
        except NotDispatched as refusal:
            refused = pb.AckMessage(
                msg_id=message.msg_id,
                status=pb.ACK_STATUS_FAILURE,
                error=refusal.message,
            )
            return quicflow.response(refused, self._settings.client_id, self._clock.now_ms())

    async def _keep_pinging(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_interval_s)
            if self._unanswered_pings >= quicflow.MISSED_HEARTBEATS:
                raise ConnectionLost("the server does not answer heartbeats")
            await self._ping()

    async def _ping(self) -> None:
        self._unanswered_pings += 1
        await self._send(quicflow.ping(self._settings.client_id, self._clock.now_ms()))

    async def _send(self, frame: bytes, stream_id: int | None = None) -> None:
        stream_id = self._connection.new_stream() if stream_id is None else stream_id
        await self._connection.send(StreamFrame(stream_id, frame, fin=True))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="quicflow.message")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
