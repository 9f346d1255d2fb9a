"""A batch as it is taken in: request → NewBatch, its targets cut into chunks for dispatch and for events."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from msgspec import UNSET

from quarterdeck.api.errors import ExactlyOneOf
from quarterdeck.api.handlers.origin import Origin
from quarterdeck.api.handlers.requests import SubmitBatch, SubmitClientBatch
from quarterdeck.api.handlers.specs import SHELL, build_spec, payload_bytes, shell_payload
from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import CommandSpec, TimeoutClock
from quarterdeck.contracts.errors import InvalidInput, PayloadTooLarge, ScriptNotFound
from quarterdeck.contracts.event_payloads import spec_document
from quarterdeck.contracts.ids import Target, child_id
from quarterdeck.contracts.limits import CHUNK_TARGETS, MAX_PAYLOAD_BYTES
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem
from quarterdeck.core.store import NewBatch, RawEntry

_MAX_ALIAS_CHARACTERS: Final = 200


class _Chunk(NamedTuple):
    offset: int
    targets: tuple[Target, ...]


def batch_spec(request: SubmitBatch) -> CommandSpec:
    """Raises ExactlyOneOf, ScriptNotFound, InvalidInput and its kin."""
    if (
        sum(given is not None for given in (request.command_content, request.script_id, request.command_type))
        != 1
    ):
        raise ExactlyOneOf("command_content", "script_id")
    if request.script_id is not None:
        raise ScriptNotFound("script_id: no such script", field="script_id", value=request.script_id)
    alias = request.execution_alias
    if alias is not None and len(alias) > _MAX_ALIAS_CHARACTERS:
        raise InvalidInput(
            f"execution_alias: at most {_MAX_ALIAS_CHARACTERS} characters", field="execution_alias"
        )
    if request.command_content is not None:
        if not request.command_content or "\0" in request.command_content:
            raise InvalidInput("command_content: expected text without NUL", field="command_content")
        if request.payload is not UNSET:
            raise InvalidInput("payload: belongs to command_type, not to command_content", field="payload")
        command_type, payload = SHELL, shell_payload(request.command_content)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLarge(
                f"command_content: {len(payload)} bytes as JSON, limit {MAX_PAYLOAD_BYTES}",
                field="command_content",
            )
    else:
        command_type = request.command_type or ""
        payload = payload_bytes(request.payload)
    return build_spec(request, command_type=command_type, payload=payload, timeout_from=TimeoutClock.START)


def client_batch_spec(request: SubmitClientBatch) -> CommandSpec:
    """Raises InvalidInput and its kin."""
    return build_spec(
        request,
        command_type=request.command_type,
        payload=payload_bytes(request.payload),
        timeout_from=TimeoutClock.START,
    )


def new_batch(
    spec: CommandSpec, targets: Sequence[Target], origin: Origin, *, body: bytes, alias: str | None = None
) -> NewBatch:
    """`body`: the request as it came, kept as original_request."""
    tenant, user_id = origin.principal.tenant, origin.principal.name
    batch_id = origin.fresh_id()
    first = {
        **origin.event_members,
        "total": len(targets),
        **({"execution_alias": alias} if alias else {}),
        "spec": spec_document(spec),
    }
    chunks = list(_chunks(targets))
    return NewBatch(
        batch_id=batch_id,
        tenant=tenant,
        user_id=user_id,
        spec=spec,
        targets=tuple(str(target) for target in targets),
        created_at_ms=origin.now_ms,
        original_request=body,
        execution_alias=alias,
        messages=tuple(_dispatch(batch_id, spec, chunk, origin) for chunk in chunks),
        event_payloads=tuple(
            {
                **(first if chunk.offset == 0 else {}),
                "offset": chunk.offset,
                "targets": [str(target) for target in chunk.targets],
            }
            for chunk in chunks
        ),
        idempotency=origin.idempotency,
    )


def _chunks(targets: Sequence[Target]) -> Iterator[_Chunk]:
    for offset in range(0, len(targets), CHUNK_TARGETS):
        yield _Chunk(offset, tuple(targets[offset : offset + CHUNK_TARGETS]))


def _dispatch(batch_id: str, spec: CommandSpec, chunk: _Chunk, origin: Origin) -> RawEntry:
    message = DispatchChunk(
        tenant=origin.principal.tenant,
        user_id=origin.principal.name,
        spec=spec,
        items=tuple(
            DispatchItem(child_id(batch_id, chunk.offset + index), target.agent_id, target.guest)
            for index, target in enumerate(chunk.targets)
        ),
        created_at_ms=origin.now_ms,
        batch_id=batch_id,
    )
    subject = subjects.command(origin.principal.tenant, spec.lane)
    return RawEntry(subject, f"{batch_id}-dispatch-{chunk.offset}", codec.encode(message))
