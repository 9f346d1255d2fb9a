"""Commands for guests: virtual machines behind an agent, reached through their hypervisor.

    command type       payload (JSON)                                          protocol       answer
    shell, exec        as for any machine                                      qga            output
    qga.shell          QgaShell                                                qga            output
    qga.exec           QgaExec                                                 qga            output, QgaExecEnd
    qmp.execute        QmpExecute                                              qmp            what QEMU returned
    qmp.send_keys      SendKeys                                                qmp            –
    qmp.query_status   {}                                                      qmp            {"status", "running"}
    virtio.send        VirtioSend                                              virtio_serial  VirtioReply
    spice.send_keys    SendKeys                                                spice          –

The target is `agent/guest`. The agent executes them (libs/agent, guests/), the api tells by which protocol (`via`), and
`quarterdeck vm` orders some of them.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from quarterdeck.contracts.limits import MAX_TIMEOUT_MS

QGA_SHELL: Final = "qga.shell"
QGA_EXEC: Final = "qga.exec"
QMP_EXECUTE: Final = "qmp.execute"
QMP_SEND_KEYS: Final = "qmp.send_keys"
QMP_QUERY_STATUS: Final = "qmp.query_status"
VIRTIO_SEND: Final = "virtio.send"
SPICE_SEND_KEYS: Final = "spice.send_keys"

GUEST_COMMAND_TYPES: Final = (
    QGA_EXEC,
    QGA_SHELL,
    QMP_EXECUTE,
    QMP_QUERY_STATUS,
    QMP_SEND_KEYS,
    SPICE_SEND_KEYS,
    VIRTIO_SEND,
)
"""Those that only guests know."""

GuestProtocol = Literal["qmp", "qga", "virtio_serial", "spice"]

MAX_GUESTS: Final = 4096
"""Of one agent, as it may announce them: their names fit into one record of the registry."""

_PROTOCOLS: Final[dict[str, GuestProtocol]] = {
    QMP_EXECUTE: "qmp",
    QMP_SEND_KEYS: "qmp",
    QMP_QUERY_STATUS: "qmp",
    VIRTIO_SEND: "virtio_serial",
    SPICE_SEND_KEYS: "spice",
}


def guest_protocol(command_type: str) -> GuestProtocol:
    """By which protocol a command reaches a guest. Whatever runs in the guest goes through its agent."""
    return _PROTOCOLS.get(command_type, "qga")


class _Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class QgaShell(_Payload, frozen=True, kw_only=True):
    command: str
    """/bin/sh -c, in the guest."""


class QgaExec(_Payload, frozen=True, kw_only=True):
    """As `guest-exec` has it. Source: QEMU guest agent protocol reference, guest-exec."""

    path: str
    arg: list[str] = []
    env: list[str] = []
    """NAME=value, over the environment of the guest's agent."""
    input_data: bytes = b""
    """For its stdin; base64 in JSON."""
    capture_output: bool = True
    """False: what it prints is thrown away."""


class QgaExecEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The result of qga.exec: GuestExecStatus, without the output, which is the command's own."""

    exited: bool = True
    exit_code: int | None = None
    signal: int | None = None
    out_truncated: bool = False
    err_truncated: bool = False


class QmpExecute(_Payload, frozen=True, kw_only=True):
    command: Annotated[str, Meta(min_length=1)]
    arguments: dict[str, Any] = {}


class SendKeys(_Payload, frozen=True, kw_only=True):
    """All of `keys` are pressed, held, and released: a combination, not a text."""

    keys: Annotated[list[str], Meta(min_length=1, max_length=32)]
    """Names as QEMU has them: a, ret, ctrl, alt, delete, f1; del, enter, esc and space are known too."""
    hold_ms: Annotated[int, Meta(ge=1, le=60_000)] | None = None


class VirtioSend(_Payload, frozen=True, kw_only=True):
    """One line to a channel of the guest: exactly one of `message` and `text`."""

    channel: Annotated[str, Meta(min_length=1, max_length=256)]
    """The port's name in the guest, such as org.example.echo."""
    message: Any = msgspec.UNSET
    """Sent as one line of JSON."""
    text: str | None = None
    """Sent as it is, with a line break behind it."""
    reply_timeout_ms: Annotated[int, Meta(ge=1, le=MAX_TIMEOUT_MS)] | None = None
    """Wait so long for one line in return; None: for none."""


class VirtioReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of virtio.send. A member is present when a reply of its kind came."""

    message: Any = msgspec.UNSET
    """The line that came, from JSON."""
    text: str | None = None
    """The line that came, when `text` was sent."""
