"""What a client may ask for over a WebSocket. Pure."""

from typing import Final, Literal

import msgspec

from quarterdeck.contracts.errors import InvalidInput, NotFound
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.errors import BodyTooLarge
from quarterdeck.web.paths import checked_id

MAX_REQUEST_BYTES: Final = 16 * 1024


class _Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    batch_command_id: str | None = None
    child_command_id: str | None = None


class TerminateTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task by its child_command_id, or all of them by batch_command_id. Never all because nothing was named."""

    type: Literal["TERMINATE_TASK"]
    """No tag: msgspec takes a lone tagged struct without its tag, and a stop must be asked for by name."""
    payload: _Target


def child_to_terminate(raw: bytes, batch_id: str) -> str | None:
    """The child's id; None: the whole batch. `batch_id`: that the socket is of.

    Raises MalformedBody, BodyTooLarge, InvalidInput, NotFound for another batch.
    """
    if len(raw) > MAX_REQUEST_BYTES:
        raise BodyTooLarge(MAX_REQUEST_BYTES)
    target = decode_body(raw, TerminateTask).payload
    if target.batch_command_id is not None and target.batch_command_id != batch_id:
        raise NotFound("batch_command_id: this WebSocket is of another batch", field="batch_command_id")
    if target.child_command_id is not None:
        return checked_id(target.child_command_id, "child_command_id")
    if target.batch_command_id is None:
        raise InvalidInput("payload: expected child_command_id or batch_command_id", field="payload")
    return None
