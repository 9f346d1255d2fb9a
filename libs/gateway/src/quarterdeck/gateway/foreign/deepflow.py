"""The dialect of DeepFlow's agents: remote execution over one gRPC call, roles reversed.

Owns the requests of a link that wait for answers, their numbers, and the answers to heartbeats. What makes an answer
complete is in `deepflow_answer`, what a request looks like in `deepflow_request`; queue, deadlines and back-pressure
are the link's. Made by the gRPC gateway. Source: protos/deepflow/agent.proto.
"""

import asyncio
import logging
from typing import Final, NamedTuple

import msgspec
import structlog
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.contracts.agent_calls import CATALOGUE, LIST_COMMANDS, LIST_NAMESPACES
from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.agents import Dialect as DialectName
from quarterdeck.contracts.errors import DecodeError, InvalidInput, LinkRefused
from quarterdeck.contracts.identities import ip_mac_identity
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.gateway.foreign import deepflow_request
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.command import ForeignCommand, Phase
from quarterdeck.gateway.foreign.deepflow_answer import (
    Answer,
    CommandsAnswer,
    NamespacesAnswer,
    RunAnswer,
    as_text,
)
from quarterdeck.gateway.foreign.deepflow_trace import traced_request, traced_response
from quarterdeck.gateway.foreign.dialect import Desk
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ResultReason
from quarterdeck.wire.deepflow import agent_pb2 as df

log = structlog.get_logger()

METHOD: Final = "/agent.Synchronizer/RemoteExecute"
FIRST_REQUEST_ID: Final = 2
"""0 answers heartbeats; DeepFlow's own controller counts from here."""
MAY_STILL_RUN: Final = "agent may still run it"
_MAX_FACT_CHARS: Final = 256

_ANSWERS: Final[dict[str, type[Answer]]] = {
    CATALOGUE: RunAnswer,
    LIST_COMMANDS: CommandsAnswer,
    LIST_NAMESPACES: NamespacesAnswer,
}


class DeepflowDialect:
    name = DialectName.DEEPFLOW

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def open(self, connection: Connection) -> "DeepflowConversation":
        """Nothing is said before the agent has named itself (S1-2); whom we do not know hears nothing at all.

        Raises LinkRefused: undecodable, protocol, unauthenticated, revoked; ConnectionLost; Unavailable.
        """
        frame = await connection.receive()
        if frame is None:
            raise ConnectionLost("closed during the opening")
        first = _decoded(frame)
        record = await self._admission.known(self.name, _link_key(first.agent_id), peer=connection.peer)
        said = msgspec.structs.replace(
            record, facts=_facts(first.agent_id), capabilities=deepflow_request.COMMAND_TYPES
        )
        return DeepflowConversation(connection, await self._admission.remember(said), first)


class _Pending(NamedTuple):
    """A request without a complete answer."""

    command: ForeignCommand
    answer: Answer


class DeepflowConversation:
    """One link. `first`: the response that named the agent; it counts like any other once the link stands."""

    max_running: int | None = 1
    """Of each kind: a second request of a kind would overwrite the first in the agent."""

    def __init__(self, connection: Connection, record: AgentRecord, first: df.RemoteExecResponse) -> None:
        self.record = record
        self._connection = connection
        self._first = first
        self._key = _link_key(first.agent_id)
        self._desk: Desk
        self._last_request_id = FIRST_REQUEST_ID - 1
        self._pending: dict[int, _Pending] = {}
        self._writing = asyncio.Lock()
        self._answering: asyncio.Task[None] | None = None

    def refusal(self, spec: pb.CommandSpec, guest: str) -> str | None:
        return deepflow_request.refusal(spec, guest)

    def bind(self, desk: Desk) -> None:
        self._desk = desk

    async def welcome(self) -> None:
        """The agent's first response is heard; its protocol has no other greeting."""
        self._hear(self._first)

    async def write_order(self, command: ForeignCommand) -> None:
        self._last_request_id += 1
        request_id = self._last_request_id
        try:
            request = deepflow_request.request_of(command.spec, request_id)
        except DecodeError as error:
            self._desk.finished(
                command, CommandState.FAILED, reason=ResultReason.INVALID_PAYLOAD, error=error.message
            )
            return
        command.wire_id = request_id
        self._pending[request_id] = _Pending(command, _ANSWERS[command.spec.command_type]())
        if log.is_enabled_for(logging.DEBUG):
            log.debug(
                "gateway.deepflow_request_written",
                agent_id=self.record.agent_id,
                command_id=command.command_id,
                request=traced_request(request),
            )
        await self._write(request.SerializeToString())

    async def write_terminate(self, command: ForeignCommand) -> None:
        """There is no such message: the command ends here, and what still comes of it is fenced.

        Its place is free at once: the agent drops what it runs when the next request of the kind arrives.
        """
        if isinstance(command.wire_id, int):
            self._pending.pop(command.wire_id, None)
        self._desk.abandon(command, MAY_STILL_RUN)

    async def take(self, frame: bytes) -> None:
        response = _decoded(frame)
        if response.HasField("agent_id") and _link_key(response.agent_id) != self._key:
            raise LinkRefused(LinkEnd.UNAUTHENTICATED, "another agent's name on this link")
        self._hear(response)

    async def goodbye(self, reason: str) -> None:
        """The end of the call says it all."""

    def _hear(self, response: df.RemoteExecResponse) -> None:
        if log.is_enabled_for(logging.DEBUG):
            log.debug(
                "gateway.deepflow_response_taken",
                agent_id=self.record.agent_id,
                response=traced_response(response),
            )
        pending = self._find(response.request_id)
        if _is_empty(response) and (pending is None or isinstance(pending.answer, RunAnswer)):
            self._desk.heartbeat()
            self._answer_heartbeat()
        elif pending is not None:
            self._take_answer(response, pending)
        elif response.request_id > self._last_request_id or response.request_id < FIRST_REQUEST_ID:
            self._desk.fenced("an answer to no request")
        else:
            self._desk.fenced("a late answer")

    def _find(self, request_id: int) -> _Pending | None:
        """None for what was never asked, and for what ended without this answer."""
        pending = self._pending.get(request_id)
        if pending is not None and pending.command.phase is Phase.ENDED:
            del self._pending[request_id]
            return None
        return pending

    def _take_answer(self, response: df.RemoteExecResponse, pending: _Pending) -> None:
        content, end = pending.answer.take(response)
        if content:
            self._desk.output(pending.command, OutputStream.STDOUT, content)
        if end is not None:
            del self._pending[response.request_id]
            self._desk.finished(
                pending.command,
                end.state,
                reason=end.reason,
                error=end.error,
                exit_code=end.exit_code,
                result=end.result,
            )

    def _answer_heartbeat(self) -> None:
        """One answer at a time: a flood of heartbeats is answered as fast as the agent reads, and holds up nothing."""
        if self._answering is not None:
            if not self._answering.done():
                return
            self._answering.result()
        self._answering = asyncio.create_task(self._write_heartbeat_answer(), name="deepflow_heartbeat")

    async def _write_heartbeat_answer(self) -> None:
        try:
            await self._write(deepflow_request.HEARTBEAT_ANSWER)
        except ConnectionLost:
            pass  # whoever reads the connection finds it too, and ends the link

    async def _write(self, frame: bytes) -> None:
        async with self._writing:
            await self._connection.send(frame)


def _decoded(frame: bytes) -> df.RemoteExecResponse:
    try:
        return df.RemoteExecResponse.FromString(frame)
    except ProtobufDecodeError:
        raise LinkRefused(LinkEnd.UNDECODABLE, f"a message of {len(frame)} bytes") from None


def _is_empty(response: df.RemoteExecResponse) -> bool:
    """A heartbeat, unless a list was asked for under its number: an empty list looks the same."""
    return not (
        response.HasField("errmsg")
        or response.HasField("command_result")
        or response.commands
        or response.linux_namespaces
    )


def _link_key(agent_id: df.AgentId) -> str:
    """`ip-mac`. Raises LinkRefused(protocol)."""
    try:
        return ip_mac_identity(as_text(agent_id.ip), as_text(agent_id.mac))
    except InvalidInput as error:
        raise LinkRefused(LinkEnd.PROTOCOL, f"agent_id: {error.message}") from None


def _facts(agent_id: df.AgentId) -> dict[str, str]:
    said = {
        "ip": agent_id.ip,
        "mac": agent_id.mac,
        "team_id": agent_id.team_id,
        "group_id": agent_id.group_id,
    }
    return {name: as_text(value)[:_MAX_FACT_CHARS] for name, value in said.items() if value}
