"""A monitor whose socket is ours alone: QEMU takes one client per monitor, and lets the next one wait without a word.

Owns the connection's life and what its errors mean; client.py owns the library.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec
import structlog
from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, Message, QMPError, Runstate, StateError

from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    MachineError,
    MonitorBusy,
    ProtocolViolation,
    Refused,
    TimedOut,
)
from quarterdeck.machines.guest import Endpoint, ProtocolType
from quarterdeck.machines.qmp.client import MonitorClient
from quarterdeck.machines.qmp.events import EventStream, EventStreams
from quarterdeck.machines.qmp.messages import QmpEvent
from quarterdeck.machines.sockets import dial

log = structlog.get_logger()

MAX_UNANSWERED: Final = 256
"""Requests that QEMU may owe an answer. A QEMU that stands still must not fill our memory."""

_WENT_AWAY: Final = (OSError, EOFError)
_NO_ANSWER_AT_ALL: Final = (QMPError, ValueError, TypeError, RecursionError, msgspec.MsgspecError)
"""What the library's reader stops with when a line is too long, is not JSON, or is not what QMP is made of."""


class SocketMonitor:
    """Made by `open`. Safe for several tasks: QEMU answers one request after the other, each to its own task."""

    def __init__(self, guest: str) -> None:
        self._guest = guest
        self._client = MonitorClient(self._on_event)
        self._streams = EventStreams()
        self._cause: Exception | None = None
        self._is_closing = False
        self._socket: socket.socket
        self._watch: asyncio.Task[None]

    @classmethod
    async def open(cls, endpoint: Endpoint, *, guest: str, timeout_s: float) -> Self:
        """Raises MonitorBusy after `timeout_s` without a greeting; ConnectFailed, ProtocolViolation."""
        monitor = cls(guest)
        try:
            async with asyncio.timeout(timeout_s):
                await monitor._connect(endpoint)
        except TimeoutError as error:
            text = f"{endpoint}: no greeting in {timeout_s:g} s: another client has the monitor, or QEMU stands still"
            raise MonitorBusy(text, guest=guest, protocol=ProtocolType.QMP) from error
        return monitor

    async def _connect(self, endpoint: Endpoint) -> None:
        self._socket = await dial(endpoint, guest=self._guest, protocol=ProtocolType.QMP)
        try:
            await self._client.connect(self._socket)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, ConnectError):
                raise self._greeting_failed(endpoint, error) from error
            raise
        self._watch = asyncio.create_task(self._wait_for_end())
        log.debug("qmp.connected", guest=self._guest)

    def _greeting_failed(self, endpoint: Endpoint, error: ConnectError) -> MachineError:
        if isinstance(error.exc, _WENT_AWAY):
            text = f"{endpoint}: closed before its greeting"
            return ConnectFailed(text, guest=self._guest, protocol=ProtocolType.QMP)
        return self._meaning_of(error.exc)

    @property
    def is_open(self) -> bool:
        return self._client.runstate is Runstate.RUNNING and not self._is_closing

    async def execute(self, command: str, arguments: Mapping[str, Any] | None) -> Any:
        if self._client.unanswered >= MAX_UNANSWERED:
            text = f"{MAX_UNANSWERED} requests before this one are still unanswered"
            raise TimedOut(text, guest=self._guest, protocol=ProtocolType.QMP)
        try:
            return await self._client.execute(command, arguments)
        except ExecuteError as error:
            refusal = error.error.error
            raise Refused(
                refusal.class_, refusal.desc, guest=self._guest, protocol=ProtocolType.QMP
            ) from error
        except (ExecInterruptedError, StateError) as error:
            await asyncio.wait({self._watch})
            raise self._ended() from error
        except QMPError as error:
            raise self._meaning_of(error) from error

    def events(self) -> EventStream:
        stream = self._streams.open()
        if not self.is_open:
            stream.end(self._ended())
        return stream

    async def close(self) -> None:
        self._is_closing = True
        self._shut_down()
        await asyncio.wait({self._watch})

    async def _wait_for_end(self) -> None:
        """Whichever side ends the connection: takes the library apart, and remembers why."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        self._shut_down()
        try:
            await self._client.disconnect()
        except (*_WENT_AWAY, *_NO_ANSWER_AT_ALL) as error:
            if not self._is_closing:
                self._cause = error
        finally:
            self._streams.end(None if self._is_closing else self._ended())
        log.debug("qmp.connection_ended", guest=self._guest, by_us=self._is_closing)

    def _shut_down(self) -> None:
        # The library would wait until all is written, and a QEMU that stands still reads nothing.
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # gone already

    def _ended(self) -> MachineError:
        if self._cause is not None:
            return self._meaning_of(self._cause)
        return ConnectionEnded("disconnected", guest=self._guest, protocol=ProtocolType.QMP)

    def _meaning_of(self, error: BaseException) -> MachineError:
        if isinstance(error, _WENT_AWAY):
            return ConnectionEnded("QEMU went away", guest=self._guest, protocol=ProtocolType.QMP)
        # Not the error's own text: it holds what was received.
        text = f"QEMU wrote what is no QMP ({type(error).__name__})"
        return ProtocolViolation(text, guest=self._guest, protocol=ProtocolType.QMP)

    def _on_event(self, message: Message) -> None:
        if self._streams:
            self._streams.put(QmpEvent.of_message(message))
