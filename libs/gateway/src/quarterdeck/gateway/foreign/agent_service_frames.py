"""Between agent_service messages and what they mean for us, both ways. Pure: no link, no command, no clock.

Owns what the protocol can carry: a shell command goes as its line, a script as its text, an argv as a line that runs
exactly that program. An environment does not go: the protocol has no field for it, and every user of the machine could
read what is pasted into a command line. Called by the conversation in `agent_service`.
"""

import shlex
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.wire.agent_service import agent_service_pb2 as pb
from quarterdeck.wire.agent_v1 import agent_pb2 as native

CAPABILITIES: Final = ("exec", "shell")
"""Command types that this protocol carries."""
STREAM_OF: Final = {pb.STDOUT: OutputStream.STDOUT, pb.STDERR: OutputStream.STDERR}
END_OF: Final = {
    pb.SUCCESS: CommandState.SUCCEEDED,
    pb.FAILURE: CommandState.FAILED,
    pb.TERMINATED: CommandState.TERMINATED,
}
_NOT_FOUND: Final = "not found"
_MAX_TEXT_CHARS: Final = 1024
_MAX_ADDRESSES: Final = 32
_MAX_TIMEOUT_SECONDS: Final = 2**32 - 1


class _Payload(msgspec.Struct):
    command: str = ""
    script: str = ""
    argv: tuple[str, ...] = ()


class Content(NamedTuple):
    """What an agent is told to run."""

    kind: "pb.CommandType.ValueType"
    text: str


class NotCarried(Exception):
    """The protocol has no words for this command. The text says which part of it."""


def decode(frame: bytes) -> pb.MessageToServer:
    """Raises LinkRefused(undecodable)."""
    try:
        return pb.MessageToServer.FromString(frame)
    except ProtobufDecodeError:
        raise LinkRefused(LinkEnd.UNDECODABLE, f"a message of {len(frame)} bytes") from None


def content_of(spec: native.CommandSpec, guest: str, facts: Mapping[str, str]) -> Content:
    """What `spec` is in the words of an agent with `facts`. Raises NotCarried."""
    if guest:
        raise NotCarried("agents of this protocol have no guests")
    if spec.command_type not in CAPABILITIES:
        raise NotCarried(f"this protocol carries {' and '.join(CAPABILITIES)} only")
    if spec.env:
        raise NotCarried("this protocol carries no environment")
    try:
        payload = msgspec.json.decode(spec.payload, type=_Payload)
    except msgspec.MsgspecError as error:
        raise NotCarried(f"invalid payload: {error}") from None
    match spec.command_type, payload:
        case "exec", _Payload(argv=(program, *_)) if program and not program.startswith("-"):
            if facts.get("os_type", "").lower().startswith("win"):
                raise NotCarried("an argv is quoted for a POSIX shell, and this agent has none")
            # `exec` finds no built-in, and takes its first word neither for a keyword nor for an assignment.
            return Content(pb.ADHOC_COMMAND, f"exec {shlex.join(payload.argv)}")
        case "shell", _Payload(command=command, script="") if command:
            return Content(pb.ADHOC_COMMAND, command)
        case "shell", _Payload(command="", script=script) if script:
            return Content(pb.SAVED_SCRIPT, script)
    raise NotCarried("invalid payload: expected a command, a script, or an argv that starts with a program")


def timeout_seconds(timeout_ms: int) -> int:
    """Whole seconds, upwards: an agent that keeps it never ends a command before its time. 0: none."""
    return min(-(-timeout_ms // 1000), _MAX_TIMEOUT_SECONDS)


def facts_of(handshake: pb.AgentHandshake) -> dict[str, str]:
    """What the agent says of its host, under the names that agents of ours use. What it leaves out is left out."""
    facts = {
        "hostname": handshake.hostname,
        "os": handshake.long_os_version or handshake.os_name or handshake.os_type,
        "os_type": handshake.os_type,
        "os_version": handshake.os_version_detail,
        "distribution": handshake.distribution_id,
        "kernel": handshake.kernel_version,
        "arch": handshake.arch,
        "public_ip_addresses": ",".join(handshake.public_ip_addresses[:_MAX_ADDRESSES]),
    }
    return {name: text[:_MAX_TEXT_CHARS] for name, text in facts.items() if text}


def version_of(handshake: pb.AgentHandshake) -> str:
    return handshake.agent_version[:_MAX_TEXT_CHARS]


def says_not_found(result: pb.BatchCommandResult) -> bool:
    """The answer to a termination of a command that the agent does not run. Source: S4-28."""
    return result.status == pb.FAILURE and _NOT_FOUND in result.error_message.lower()
