"""QmpProtocol: commands, keys, state and events of one guest, over its monitor.

Owns when a request is made again; the connection is a Monitor's. Called by the agent and by programs of others.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.machines import keys as key_names
from quarterdeck.machines.errors import (
    ConnectionEnded,
    NotSupported,
    ProtocolUnavailable,
    ProtocolViolation,
    TimedOut,
    UnknownKey,
)
from quarterdeck.machines.guest import Guest, LibvirtEndpoint, ProtocolType
from quarterdeck.machines.noncharacters import NONCHARACTERS_REFUSED, has_noncharacter
from quarterdeck.machines.protocol import DEFAULT_TIMEOUT_S
from quarterdeck.machines.qmp.events import EventStream
from quarterdeck.machines.qmp.messages import QmpCommand, QmpKey, QmpStatus, QmpVersion
from quarterdeck.machines.qmp.monitor import Monitor
from quarterdeck.machines.qmp.socket_monitor import SocketMonitor

T = TypeVar("T")

_READS: Final = ("query-", "qom-get", "qom-list", "device-list-properties")
"""Commands that change nothing, by how they begin: these may be asked twice."""


class QmpProtocol:
    """A Protocol. Made by QmpProtocolBuilder.

    A connection that the other side ended is made anew by the next request. A request that was on its way when the
    connection ended is made again only if it changes nothing.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._guest: Guest | None = None
        self._monitor: Monitor | None = None

    @property
    def guest(self) -> Guest | None:
        """The one that it was connected to; None after disconnect."""
        return self._guest

    async def connect(self, guest: Guest) -> None:
        """Raises ProtocolUnavailable, ConnectFailed, MonitorBusy, ProtocolViolation."""
        async with self._turn:
            self._guest = None
            await self._close()
            self._monitor = await self._open(guest)
            self._guest = guest

    async def disconnect(self) -> None:
        async with self._turn:
            self._guest = None
            await self._close()

    async def is_connected(self) -> bool:
        return self._monitor is not None and self._monitor.is_open

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.QMP

    async def execute_command(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """What QEMU returned, decoded. `command`: such as `query-block`; `arguments`: its own, as JSON knows them.

        Raises Refused, TimedOut, ConnectionEnded, ProtocolViolation; what connect raises; InvalidInput for arguments
        that are no JSON. A command that timed out may still be executed.
        """
        _check(command, arguments)
        guest = self._connected_guest()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._execute(command, arguments)
        except TimeoutError as error:
            text = f"no answer to {command} in {self._timeout_s:g} s"
            raise TimedOut(text, guest=guest.name, protocol=ProtocolType.QMP) from error

    async def execute_as(self, command: str, arguments: Mapping[str, Any] | None, answer: type[T]) -> T:
        """As execute_command, with what was returned as an `answer`; ProtocolViolation when it is none."""
        returned = await self.execute_command(command, arguments)
        try:
            return msgspec.convert(returned, answer)
        except msgspec.ValidationError as error:
            raise ProtocolViolation(
                f"{command}: {error}", guest=self._connected_guest().name, protocol=ProtocolType.QMP
            ) from error

    async def query_version(self) -> QmpVersion:
        """Raises what execute_command raises."""
        return await self.execute_as("query-version", None, QmpVersion)

    async def query_status(self) -> QmpStatus:
        """Raises what execute_command raises."""
        return await self.execute_as("query-status", None, QmpStatus)

    async def send_key(self, key: str, hold_ms: int | None = None) -> None:
        """As send_keys."""
        await self.send_keys([key], hold_ms)

    async def send_keys(self, keys: Sequence[str], hold_ms: int | None = None) -> None:
        """Press the keys together, in this order; release them after `hold_ms`, or QEMU's 100 ms.

        Returns when QEMU has taken the order: it knows neither whether the guest has a keyboard nor who reads it.
        Raises UnknownKey before anything is sent, InvalidInput, and what execute_command raises.
        """
        if not keys:
            raise InvalidInput("keys: expected at least one", field="keys")
        if hold_ms is not None and hold_ms < 1:
            raise InvalidInput("hold_ms: expected at least 1", field="hold_ms", value=hold_ms)
        pressed = [QmpKey(name=self._canonical(key)) for key in keys]
        arguments: dict[str, Any] = {"keys": msgspec.to_builtins(pressed)}
        if hold_ms is not None:
            arguments["hold-time"] = hold_ms
        await self.execute_command("send-key", arguments)

    def events(self) -> EventStream:
        """What QEMU tells from now on, over this connection. Raises ConnectionEnded, NotSupported through libvirt."""
        guest = self._connected_guest()
        if self._monitor is None:
            raise ConnectionEnded("QEMU went away", guest=guest.name, protocol=ProtocolType.QMP)
        return self._monitor.events()

    async def send(self, content: bytes) -> None:
        """A command in QMP's own form, `{"execute": …, "arguments": …}`; its answer is awaited and dropped.

        Raises InvalidInput when it is none, and what execute_command raises.
        """
        try:
            command = msgspec.json.decode(content, type=QmpCommand)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"content: no QMP command: {error}", field="content") from error
        await self.execute_command(command.execute, command.arguments)

    async def receive(self) -> bytes:
        """Raises NotSupported, always."""
        raise NotSupported(
            "QMP answers requests: use execute_command(), and events() for what comes unasked",
            guest="?" if self._guest is None else self._guest.name,
            protocol=ProtocolType.QMP,
        )

    async def _execute(self, command: str, arguments: Mapping[str, Any] | None) -> Any:
        try:
            return await (await self._open_monitor()).execute(command, arguments)
        except ConnectionEnded:
            if not command.startswith(_READS):
                raise
        return await (await self._open_monitor()).execute(command, arguments)

    async def _open_monitor(self) -> Monitor:
        async with self._turn:
            guest = self._connected_guest()
            if self._monitor is None or not self._monitor.is_open:
                await self._close()
                self._monitor = await self._open(guest)
            return self._monitor

    async def _open(self, guest: Guest) -> Monitor:
        endpoint = guest.endpoints.get(ProtocolType.QMP)
        if endpoint is None:
            raise ProtocolUnavailable("no monitor is known", guest=guest.name, protocol=ProtocolType.QMP)
        if isinstance(endpoint, LibvirtEndpoint):
            from quarterdeck.machines.qmp.libvirt_monitor import LibvirtMonitor

            return await LibvirtMonitor.open(endpoint, guest=guest.name, timeout_s=self._timeout_s)
        return await SocketMonitor.open(endpoint, guest=guest.name, timeout_s=self._timeout_s)

    async def _close(self) -> None:
        if self._monitor is not None:
            monitor, self._monitor = self._monitor, None
            await monitor.close()

    def _connected_guest(self) -> Guest:
        if self._guest is None:
            raise ConnectionEnded("not connected", guest="?", protocol=ProtocolType.QMP)
        return self._guest

    def _canonical(self, key: str) -> str:
        try:
            return key_names.canonical(key)
        except LookupError as error:
            raise UnknownKey(key, guest=self._connected_guest().name, protocol=ProtocolType.QMP) from error


class QmpProtocolBuilder:
    """A ProtocolBuilder."""

    def __init__(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def with_timeout(self, timeout_s: float) -> "QmpProtocolBuilder":
        """For a connect, and for a request with all that is done about it."""
        return QmpProtocolBuilder(timeout_s=timeout_s)

    def build(self) -> QmpProtocol:
        return QmpProtocol(timeout_s=self._timeout_s)

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.QMP


def _check(command: str, arguments: Mapping[str, Any] | None) -> None:
    """QEMU ends the connection, for everybody, over what it cannot parse. Raises InvalidInput."""
    try:
        line = json.dumps([command, arguments], allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"arguments: expected JSON: {error}", field="arguments") from error
    if has_noncharacter(line):
        raise InvalidInput(f"arguments: {NONCHARACTERS_REFUSED}", field="arguments")
