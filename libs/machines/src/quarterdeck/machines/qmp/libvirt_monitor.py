"""A monitor that libvirt keeps to itself: commands go through the daemon. Events stay with it.

Source: libvirt, libvirt-qemu.h, virDomainQemuMonitorCommand.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    NotSupported,
    ProtocolUnavailable,
    ProtocolViolation,
    Refused,
    TimedOut,
)
from quarterdeck.machines.guest import LibvirtEndpoint, ProtocolType
from quarterdeck.machines.libvirt_connection import LibvirtConnection
from quarterdeck.machines.qmp.events import EventStream
from quarterdeck.machines.qmp.messages import QmpCommand, QmpResponse

_AS_JSON: Final = 0
"""Of virDomainQemuMonitorCommandFlags: QMP, not the human monitor."""


class LibvirtMonitor:
    """Made by `open`. Requests take turns."""

    def __init__(self, guest: str, connection: LibvirtConnection, domain: Any) -> None:
        self._guest = guest
        self._connection = connection
        self._domain = domain
        self._is_open = True

    @classmethod
    async def open(cls, endpoint: LibvirtEndpoint, *, guest: str, timeout_s: float) -> Self:
        """Raises ProtocolUnavailable, ConnectFailed, TimedOut."""
        try:
            async with asyncio.timeout(timeout_s):
                connection = await LibvirtConnection.open(
                    endpoint.uri, guest=guest, protocol=ProtocolType.QMP
                )
                domain = await _domain_of(connection, endpoint, guest)
        except TimeoutError as error:
            text = f"{endpoint}: libvirt did not answer in {timeout_s:g} s"
            raise TimedOut(text, guest=guest, protocol=ProtocolType.QMP) from error
        return cls(guest, connection, domain)

    @property
    def is_open(self) -> bool:
        return self._is_open

    async def execute(self, command: str, arguments: Mapping[str, Any] | None) -> Any:
        import libvirt
        import libvirt_qemu

        request = msgspec.json.encode(QmpCommand(execute=command, arguments=arguments)).decode()
        try:
            answer: str = await self._connection.run(
                lambda _: libvirt_qemu.qemuMonitorCommand(self._domain, request, _AS_JSON)
            )
        except libvirt.libvirtError as error:
            self._is_open = False
            unsupported = (
                error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT
            )  # not of QEMU: another hypervisor
            kind = ProtocolUnavailable if unsupported else ConnectionEnded
            raise kind(f"libvirt: {error}", guest=self._guest, protocol=ProtocolType.QMP) from error
        return self._returned(answer)

    def events(self) -> EventStream:
        raise NotSupported(
            "libvirt keeps the events of its guests", guest=self._guest, protocol=ProtocolType.QMP
        )

    async def close(self) -> None:
        self._is_open = False
        self._connection.close()

    def _returned(self, answer: str) -> Any:
        try:
            response = msgspec.json.decode(answer, type=QmpResponse)
        except msgspec.MsgspecError as error:
            raise ProtocolViolation(
                "libvirt handed on what is no QMP", guest=self._guest, protocol=ProtocolType.QMP
            ) from error
        if response.error is not None:
            raise Refused(
                response.error.error_class,
                response.error.description,
                guest=self._guest,
                protocol=ProtocolType.QMP,
            )
        return response.ret


async def _domain_of(connection: LibvirtConnection, endpoint: LibvirtEndpoint, guest: str) -> Any:
    import libvirt

    try:
        return await connection.run(lambda libvirtd: libvirtd.lookupByName(endpoint.domain))
    except BaseException as error:
        connection.close()
        if isinstance(error, libvirt.libvirtError):
            raise ConnectFailed(f"{endpoint}: {error}", guest=guest, protocol=ProtocolType.QMP) from error
        raise
