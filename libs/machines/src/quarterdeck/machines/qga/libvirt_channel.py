"""The way to a guest's agent through libvirt, which keeps the socket to itself: one blocking call per request.

libvirt syncs with the agent and matches replies on its own. It hands on answers of up to 4 MiB, and of a refusal only
the text. Source: libvirt, libvirt-qemu.h, virDomainQemuAgentCommand; virterror.h; REMOTE_STRING_MAX.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from quarterdeck.machines.errors import (
    AgentSilent,
    ConnectFailed,
    ConnectionEnded,
    GuestPaused,
    MachineError,
    ProtocolUnavailable,
    ProtocolViolation,
    Refused,
)
from quarterdeck.machines.guest import LibvirtEndpoint, ProtocolType
from quarterdeck.machines.libvirt_connection import LibvirtConnection
from quarterdeck.machines.noncharacters import NONCHARACTERS_REFUSED, has_noncharacter
from quarterdeck.machines.qga.channel import Answer, tell_late
from quarterdeck.machines.qga.framing import decode_reply
from quarterdeck.machines.qga.structures import Request

_NO_FLAGS: Final = 0
_NO_SUCH_COMMAND: Final = re.compile(r"has been disabled|has not been found")
"""How an agent describes its error class CommandNotFound."""
_SHORTER_BY_S: Final = 1
"""libvirt gives up before our caller does: it knows better why."""


class LibvirtChannel:
    """To the agent of the guest of that name. A call whose caller left goes on; the next one waits for its end."""

    def __init__(self, guest: str, endpoint: LibvirtEndpoint) -> None:
        self._guest = guest
        self._endpoint = endpoint
        self._connection: LibvirtConnection | None = None
        self._domain: Any = None

    @property
    def is_open(self) -> bool:
        return self._domain is not None

    async def open(self) -> None:
        await self.close()
        connection = await LibvirtConnection.open(
            self._endpoint.uri, guest=self._guest, protocol=ProtocolType.QGA
        )
        try:
            self._domain = await self._call(
                connection, ConnectFailed, lambda libvirtd: libvirtd.lookupByName(self._endpoint.domain)
            )
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    async def exchange(self, requests: Sequence[Request], timeout_s: float) -> list[Answer]:
        if self._connection is None:
            await self.open()
        wait_s = max(1, int(timeout_s) - _SHORTER_BY_S)
        answers: list[Answer] = []
        try:
            for request in requests:
                answer = await self._ask(request, wait_s)
                answers.append(answer)
        except BaseException:
            tell_late(requests, answers)
            raise
        return answers

    async def close(self) -> None:
        connection, self._connection, self._domain = self._connection, None, None
        if connection is not None:
            connection.close()

    async def _ask(self, request: Request, wait_s: int) -> Answer:
        import libvirt_qemu

        connection, domain = self._connection, self._domain
        if connection is None:
            raise self._error(ConnectionEnded, "closed")
        message: dict[str, object] = {"execute": request.command}
        if request.arguments is not None:
            message["arguments"] = request.arguments
        line = msgspec.json.encode(message)
        if has_noncharacter(line):
            return Answer.refused(self._refused("GenericError", NONCHARACTERS_REFUSED))
        try:
            answer: str = await self._call(
                connection,
                ConnectionEnded,
                lambda _: libvirt_qemu.qemuAgentCommand(domain, line.decode(), wait_s, _NO_FLAGS),
            )
            reply = decode_reply(answer.encode())
        except Refused as refusal:
            return Answer.refused(refusal)
        except ConnectionEnded:
            await self.close()
            raise
        except ValueError as error:
            raise self._error(ProtocolViolation, str(error)) from None
        if reply.error is not None:
            return Answer.refused(self._refused(reply.error.error_class, reply.error.description))
        assert isinstance(reply.result, msgspec.Raw)
        return Answer(self._guest, reply.result)

    async def _call(self, connection: LibvirtConnection, otherwise: type[MachineError], call: Any) -> Any:
        """`otherwise`: what a failure means that libvirt does not name."""
        import libvirt

        try:
            return await connection.run(call)
        except libvirt.libvirtError as error:
            raise self._meaning_of(error, otherwise) from error

    def _meaning_of(self, error: Any, otherwise: type[MachineError]) -> MachineError:
        import libvirt

        text = str(error)
        match error.get_error_code():
            case libvirt.VIR_ERR_INTERNAL_ERROR:  # the agent's refusal comes as one of these
                error_class = "CommandNotFound" if _NO_SUCH_COMMAND.search(text) else "GenericError"
                return self._refused(error_class, text)
            case libvirt.VIR_ERR_OPERATION_INVALID:  # the domain is not running
                return self._error(GuestPaused, text)
            case (
                libvirt.VIR_ERR_AGENT_UNRESPONSIVE
                | libvirt.VIR_ERR_AGENT_UNSYNCED
                | libvirt.VIR_ERR_OPERATION_TIMEOUT
            ):
                return self._error(AgentSilent, text)
            case libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED | libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
                return self._error(ProtocolUnavailable, text)
        return self._error(otherwise, text)

    def _refused(self, error_class: str, text: str) -> Refused:
        return Refused(error_class, text, guest=self._guest, protocol=ProtocolType.QGA)

    def _error(self, error_type: type[MachineError], message: str) -> MachineError:
        return error_type(message, guest=self._guest, protocol=ProtocolType.QGA)
