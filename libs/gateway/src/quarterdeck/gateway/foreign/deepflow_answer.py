"""The answer to one request of a DeepFlow agent, put together from its responses: output, and the end.

Owns the rules of when an answer is complete and what it then says, and the digest over what came. Pure: knows neither
the link nor the command. Called by the deepflow conversation with every response that carries the request's number.

    content                               output; more follows
    content, last, MD5 fits               succeeded; with errmsg or an errno other than 0: failed
    content, last, MD5 does not fit       failed: md5_mismatch
    errmsg without content                failed with that text
    no content, no MD5, no errmsg         succeeded without output
    more content than total_len           failed: protocol
"""

import hashlib
from typing import NamedTuple, Protocol

import msgspec

from quarterdeck.contracts.agent_calls import (
    CommandParam,
    LinuxNamespace,
    LinuxNamespaces,
    RemoteCommand,
    RemoteCommands,
)
from quarterdeck.contracts.limits import MAX_ERROR_CHARS
from quarterdeck.contracts.states import CommandState
from quarterdeck.wire.codes import ResultReason
from quarterdeck.wire.deepflow import agent_pb2 as df


class AnswerEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended, as `Desk.finished` takes it."""

    state: CommandState
    reason: str = ""
    error: str = ""
    exit_code: int | None = None
    result: bytes = b""
    """JSON text of a list, as in contracts/agent_calls.py."""


class Taken(NamedTuple):
    """What one response brought."""

    content: bytes = b""
    end: AnswerEnd | None = None


class Answer(Protocol):
    """What has come of one answer."""

    def take(self, response: df.RemoteExecResponse) -> Taken:
        """The next response. Called no more after it brought the end."""
        ...


class RunAnswer:
    """RUN_COMMAND: content in chunks, then an MD5 over all of it. Source: S1-8, S1-20."""

    def __init__(self) -> None:
        self._received_bytes = 0
        self._total_bytes: int | None = None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._error = ""

    def take(self, response: df.RemoteExecResponse) -> Taken:
        chunk = response.command_result
        if response.HasField("errmsg"):
            self._error = _joined(self._error, as_text(response.errmsg) or "the agent gave no text")
        if chunk.HasField("total_len"):
            if self._total_bytes not in {None, chunk.total_len}:
                return _broken(f"total_len {chunk.total_len}, and {self._total_bytes} before")
            self._total_bytes = chunk.total_len
        received_bytes = self._received_bytes + len(chunk.content)
        if self._total_bytes is not None and received_bytes > self._total_bytes and chunk.content:
            return _broken(f"{received_bytes} bytes of {self._total_bytes}")
        self._received_bytes = received_bytes
        self._md5.update(chunk.content)
        return Taken(chunk.content, self._end(chunk))

    def _end(self, chunk: df.DataChunk) -> AnswerEnd | None:
        """None while more is to come."""
        if chunk.md5:
            if as_text(chunk.md5) != self._md5.hexdigest():
                return self._unproven(f"the agent's MD5 differs over {self._received_bytes} bytes")
            if self._total_bytes not in {None, self._received_bytes}:
                return _broken(
                    f"the last chunk after {self._received_bytes} bytes of {self._total_bytes}"
                ).end
            return self._outcome(chunk.errno)
        if chunk.content:
            return None
        if self._received_bytes and not self._error:
            return self._unproven(f"no MD5 over {self._received_bytes} bytes")
        return self._outcome(chunk.errno)

    def _outcome(self, errno: int) -> AnswerEnd:
        if self._error or errno:
            error = self._error or f"exit code {errno}"
            # Without errno the agent never started it, or a signal ended it: no exit code either way.
            return AnswerEnd(state=CommandState.FAILED, error=error, exit_code=errno or None)
        return AnswerEnd(state=CommandState.SUCCEEDED, exit_code=0)

    def _unproven(self, error: str) -> AnswerEnd:
        return AnswerEnd(
            state=CommandState.FAILED, reason=ResultReason.MD5_MISMATCH, error=_joined(error, self._error)
        )


class CommandsAnswer:
    """LIST_COMMAND: one response; the agent may send the namespaces in it too, which are another request's."""

    def take(self, response: df.RemoteExecResponse) -> Taken:
        if response.HasField("errmsg"):
            return _failed(response)
        if not response.commands and response.linux_namespaces:
            return Taken()
        return _listed(RemoteCommands(commands=[_command(command) for command in response.commands]))


class NamespacesAnswer:
    """LIST_NAMESPACE: as LIST_COMMAND."""

    def take(self, response: df.RemoteExecResponse) -> Taken:
        if response.HasField("errmsg"):
            return _failed(response)
        if not response.linux_namespaces and response.commands:
            return Taken()
        return _listed(LinuxNamespaces(namespaces=[_namespace(each) for each in response.linux_namespaces]))


def as_text(said: str | bytes) -> str:
    """A string of the wire as text. proto2 does not insist on UTF-8, and protobuf hands out bytes where it is none."""
    return said if isinstance(said, str) else said.decode("utf-8", "replace")


def _joined(before: str, after: str) -> str:
    return "\n".join(filter(None, (before, after)))[:MAX_ERROR_CHARS]


def _listed(listed: RemoteCommands | LinuxNamespaces) -> Taken:
    return Taken(end=AnswerEnd(state=CommandState.SUCCEEDED, result=msgspec.json.encode(listed)))


def _failed(response: df.RemoteExecResponse) -> Taken:
    return Taken(end=AnswerEnd(state=CommandState.FAILED, error=as_text(response.errmsg)))


def _broken(error: str) -> Taken:
    return Taken(end=AnswerEnd(state=CommandState.FAILED, reason=ResultReason.PROTOCOL, error=error))


def _command(said: df.RemoteCommand) -> RemoteCommand:
    return RemoteCommand(
        id=said.id,
        cmd=as_text(said.cmd),
        param_names=[as_text(name) for name in said.param_names],
        output_format="BINARY" if said.output_format == df.BINARY else "TEXT",
        cmd_type="KUBERNETES" if said.cmd_type == df.KUBERNETES else "LINUX",
        ident=as_text(said.ident),
        params=[_param(param) for param in said.params],
        type_name=as_text(said.type_name),
    )


def _param(said: df.CommandParam) -> CommandParam:
    return CommandParam(
        name=as_text(said.name),
        regex=as_text(said.regex),
        required=said.required,
        param_type="PF_BOOLEAN" if said.param_type == df.PF_BOOLEAN else "PF_TEXT",
        description=as_text(said.description),
    )


def _namespace(said: df.LinuxNamespace) -> LinuxNamespace:
    return LinuxNamespace(
        id=said.id,
        ns_type=as_text(said.ns_type),
        user=as_text(said.user),
        pid=said.pid,
        cmd=as_text(said.cmd),
    )
