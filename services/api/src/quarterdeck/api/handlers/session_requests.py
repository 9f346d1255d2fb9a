"""Request bodies of sessions (seed 3). Unknown members are refused, as everywhere."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from quarterdeck.contracts.errors import InvalidInput


class CreateSession(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/sessions."""

    owner: str | None = None
    """The user who may work with it; left out, whoever asks."""


class SubmitSessionCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/sessions/{session_id}/commands."""

    command_type: str
    payload: Raw | UnsetType = UNSET
    """Any JSON."""
    idempotency_key: str | None = None
    """As the header Idempotency-Key."""


def one_key(in_header: str | None, in_body: str | None) -> str | None:
    """The idempotency key of a request. Raises InvalidInput when header and body differ."""
    if in_header is not None and in_body is not None and in_header != in_body:
        raise InvalidInput(
            "idempotency_key: differs from the header Idempotency-Key", field="idempotency_key"
        )
    return in_header if in_body is None else in_body
