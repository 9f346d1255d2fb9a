"""A quicflow client: one connection to its server, and another one when it ends, for as long as the client lives.

Owns back-off and what is told of the connection; what happens on it is in `session`, what is done with commands is the
dispatcher's. Commands go on when the connection ends; an answer that nobody takes any more is lost, and logged: the
protocol has no second chance for it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from quarterdeck.agent.backoff import Backoff
from quarterdeck.agent.errors import ConnectionLost, LinkEnded
from quarterdeck.agent.quicflow.dispatcher import Dispatcher
from quarterdeck.agent.quicflow.session import Session, StreamConnection
from quarterdeck.agent.quicflow.settings import QuicflowSettings
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.ids import new_id
from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.wire import quicflow

log = structlog.get_logger()

_STOOD_S: Final = 5.0
"""A connection that held for less was none: its end counts as one more failure in a row."""

Connect = Callable[[QuicflowSettings], Awaitable[StreamConnection]]
Hook = Callable[[], None]


class QuicflowClient:
    """Runs once: `run` until `stop`. Hooks are called in the loop and must not block."""

    def __init__(
        self,
        settings: QuicflowSettings,
        *,
        on_connected: Hook | None = None,
        on_disconnected: Hook | None = None,
        connect: Connect | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._connect = connect or _connect
        self._clock = clock or SystemClock()
        self._backoff = Backoff(rng=rng)
        self._dispatcher: Dispatcher | None = None
        self._session: Session | None = None
        self._leaving = asyncio.Event()
        self.connected = asyncio.Event()
        """Set while the server knows us."""

    @property
    def client_id(self) -> str:
        return self._settings.client_id

    def set_dispatcher(self, dispatcher: Dispatcher) -> None:
        """What is done with messages, from the next connection on."""
        self._dispatcher = dispatcher

    def stop(self) -> None:
        """Let `run` return, once commands had their grace."""
        self._leaving.set()

    async def run(self) -> None:
        """Connect, serve, and come back after every end, until `stop`. Then the dispatcher is stopped, too."""
        try:
            while not self._leaving.is_set():
                wait_s = await self._one_connection()
                if not self._leaving.is_set():
                    await self._pause(wait_s)
        finally:
            if self._dispatcher is not None:
                await self._dispatcher.stop()

    async def send_event(self, command_type: str, payload: bytes) -> None:
        """An EVENT with parameters as JSON text. Raises ConnectionLost while there is no connection."""
        await self._linked().send(
            quicflow.event(new_id(), self.client_id, command_type, payload, self._clock.now_ms())
        )

    async def send_callback(self, callback: quicflow.CommandCallback) -> None:
        """The event `command.callback`: how a command went, told by itself. Raises ConnectionLost."""
        await self.send_event(quicflow.COMMAND_CALLBACK, quicflow.callback_payload(callback))

    def _linked(self) -> Session:
        if self._session is None:
            raise ConnectionLost("not connected")
        return self._session

    async def _one_connection(self) -> float:
        """From connect to the end. Seconds to wait before the next one."""
        server, started_s = str(self._settings.server), self._clock.monotonic_s()
        try:
            connection = await self._connect(self._settings)
        except ConnectionLost as lost:
            wait_s = self._backoff.next_s()
            log.info("client.connect_failed", server=server, cause=lost.cause, retry_in_s=round(wait_s, 2))
            return wait_s
        session = Session(connection, self._settings, self._dispatcher, self._clock)
        try:
            await self._until_left(session)
        except (ConnectionLost, LinkEnded, DecodeError) as end:
            if self._clock.monotonic_s() - started_s > _STOOD_S:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            log.info("client.link_ended", server=server, cause=end.message, retry_in_s=round(wait_s, 2))
            return wait_s
        finally:
            self._disconnected()
            await connection.close()
        return 0.0

    async def _until_left(self, session: Session) -> None:
        """Returns when told to stop; else raises why the connection ended."""
        await session.open()
        self._session = session
        self.connected.set()
        log.info("client.linked", server=str(self._settings.server), client_id=self.client_id)
        if self._on_connected is not None:
            self._on_connected()
        serving = asyncio.create_task(session.serve(), name="quicflow.session")
        leaving = asyncio.create_task(self._leaving.wait(), name="quicflow.leaving")
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            elif self._dispatcher is not None:
                await self._dispatcher.stop(self._settings.stop_grace_s)
                await session.answered()
        finally:
            for task in (serving, leaving):
                task.cancel()
            await asyncio.gather(serving, leaving, return_exceptions=True)

    def _disconnected(self) -> None:
        self._session = None
        if self.connected.is_set():
            self.connected.clear()
            if self._on_disconnected is not None:
                self._on_disconnected()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            pass


async def _connect(settings: QuicflowSettings) -> StreamConnection:
    from quarterdeck.agent.carriers.quic import backbone

    return await backbone.connect(settings.server, settings.ca_pem)
