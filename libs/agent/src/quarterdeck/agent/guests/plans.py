"""From an order's payload to what a guest is asked for. Pure: loads nothing that speaks with a guest."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quarterdeck.agent.executor import shell
from quarterdeck.agent.executor.shell import InvalidPayload
from quarterdeck.contracts import guests

Asked = guests.QmpExecute | guests.SendKeys | guests.VirtioSend | None
"""The payload of a call; None: it has none."""


class GuestExecution(msgspec.Struct, frozen=True, kw_only=True):
    """A program in a guest."""

    guest: str
    argv: tuple[str, ...] = ()
    script: str | None = None
    """Instead of argv."""
    environment: Mapping[str, str] = {}
    """Over the command's own."""
    input_content: bytes = b""
    keeps_output: bool = True
    tells_end: bool = False
    """Its result says how it ended, as qga.exec promises."""


class GuestCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a guest or to its QEMU, with one answer."""

    guest: str
    command_type: str
    asked: Asked = None


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """`{}`."""


_CALLS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    guests.QMP_EXECUTE: msgspec.json.Decoder(guests.QmpExecute),
    guests.QMP_SEND_KEYS: msgspec.json.Decoder(guests.SendKeys),
    guests.QMP_QUERY_STATUS: msgspec.json.Decoder(_Nothing),
    guests.VIRTIO_SEND: msgspec.json.Decoder(guests.VirtioSend),
    guests.SPICE_SEND_KEYS: msgspec.json.Decoder(guests.SendKeys),
}
_shell_decoder: Final = msgspec.json.Decoder(guests.QgaShell)
_exec_decoder: Final = msgspec.json.Decoder(guests.QgaExec)


class UnknownToGuests(Exception):
    """No guest executes commands of this type."""


def plan_for_guest(guest: str, command_type: str, payload: bytes) -> GuestExecution | GuestCall:
    """Raises InvalidPayload, UnknownToGuests."""
    if command_type in _CALLS:
        return _call(guest, command_type, payload)
    match command_type:
        case shell.SHELL | shell.EXEC:
            plan = shell.plan_for(command_type, payload)
            return GuestExecution(guest=guest, argv=plan.argv, script=plan.script)
        case guests.QGA_SHELL:
            command = _decoded(_shell_decoder, payload).command
            if not command.strip():
                raise InvalidPayload("invalid payload: the command is empty")
            return GuestExecution(guest=guest, argv=_without_nul("/bin/sh", "-c", command))
        case guests.QGA_EXEC:
            return _execution(guest, _decoded(_exec_decoder, payload))
    raise UnknownToGuests(command_type)


def _execution(guest: str, asked: guests.QgaExec) -> GuestExecution:
    if not asked.path:
        raise InvalidPayload("invalid payload: the path is empty")
    environment: dict[str, str] = {}
    for pair in asked.env:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise InvalidPayload("invalid payload: expected NAME=value in env")
        environment[name] = text
    _without_nul(*asked.env)
    return GuestExecution(
        guest=guest,
        argv=_without_nul(asked.path, *asked.arg),
        environment=environment,
        input_content=asked.input_data,
        keeps_output=asked.capture_output,
        tells_end=True,
    )


def _call(guest: str, command_type: str, payload: bytes) -> GuestCall:
    asked = _decoded(_CALLS[command_type], payload or b"{}")
    if isinstance(asked, guests.VirtioSend):
        if (asked.message is msgspec.UNSET) == (asked.text is None):
            raise InvalidPayload("invalid payload: give message or text, one of the two")
        if asked.text is not None and "\n" in asked.text:
            raise InvalidPayload("invalid payload: text is one line")
    return GuestCall(
        guest=guest, command_type=command_type, asked=None if isinstance(asked, _Nothing) else asked
    )


def _decoded(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"invalid payload: {error}") from None


def _without_nul(*parts: str) -> tuple[str, ...]:
    if any("\0" in part for part in parts):
        raise InvalidPayload("invalid payload: a command cannot contain NUL")
    return parts
