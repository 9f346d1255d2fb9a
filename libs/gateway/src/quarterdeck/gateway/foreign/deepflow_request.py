"""Commands as requests to a DeepFlow agent: which can be asked at all, and their form on the wire.

Pure. Called by the deepflow conversation. An agent runs commands of its own list by `ident` and never a shell, and its
protocol has no word for a working directory, an environment or a guest: such commands are refused, not cut down.
"""

from typing import Final

import msgspec

from quarterdeck.contracts.agent_calls import CATALOGUE, LIST_COMMANDS, LIST_NAMESPACES, CatalogueCall
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.limits import STORED_CHUNK_BYTES
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.deepflow import agent_pb2 as df

COMMAND_TYPES: Final = (CATALOGUE, LIST_COMMANDS, LIST_NAMESPACES)

BATCH_BYTES: Final = STORED_CHUNK_BYTES
"""Content per response: one stored chunk. The protocol's default is 1 MiB, its least 1 KiB."""

HEARTBEAT_ANSWER: Final = df.RemoteExecRequest(request_id=0).SerializeToString()
"""Without exec_type: agents read no further. Source: S1-12."""


def refusal(spec: pb.CommandSpec, guest: str) -> str | None:
    """Why this protocol cannot carry the command; None when it can."""
    if spec.command_type not in COMMAND_TYPES:
        return f"deepflow agents execute {', '.join(COMMAND_TYPES)}; not {spec.command_type}"
    if guest:
        return "deepflow agents have no guests"
    if spec.working_directory or spec.env:
        return "deepflow agents take no working_directory and no env"
    return None


def request_of(spec: pb.CommandSpec, request_id: int) -> df.RemoteExecRequest:
    """The wire form of what was not refused. Raises DecodeError when the payload is none of its type."""
    if spec.command_type == LIST_COMMANDS:
        return df.RemoteExecRequest(request_id=request_id, exec_type=df.LIST_COMMAND)
    if spec.command_type == LIST_NAMESPACES:
        return df.RemoteExecRequest(request_id=request_id, exec_type=df.LIST_NAMESPACE)
    try:
        payload = msgspec.json.decode(spec.payload, type=CatalogueCall)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"invalid payload: {error}") from None
    return df.RemoteExecRequest(
        request_id=request_id,
        exec_type=df.RUN_COMMAND,
        command_ident=payload.ident,
        params=[df.Parameter(key=key, value=value) for key, value in payload.params.items()],
        linux_ns_pid=payload.linux_ns_pid,
        batch_len=BATCH_BYTES,
    )
