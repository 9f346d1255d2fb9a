"""What a user asks for in a session: checked, with the hash that tells two requests of one key apart."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import InvalidInput, PayloadTooLarge
from quarterdeck.contracts.ids import check_id, check_uuid
from quarterdeck.contracts.json_text import canonical_json, check_json
from quarterdeck.contracts.limits import MAX_PAYLOAD_BYTES
from quarterdeck.contracts.sessions import QUEUE_FOR_MS
from quarterdeck.core.store import Idempotency

_COMMAND_TYPE: Final = re.compile(r"\A[A-Za-z0-9_.-]{1,64}\Z")
_MAX_KEY_CHARACTERS: Final = 200
_MAX_USER_CHARACTERS: Final = 200


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    user_id: str
    session_id: str
    command_type: str
    payload: bytes
    """JSON text."""
    idempotency_key: str | None = None

    @classmethod
    def of(
        cls,
        *,
        tenant: str,
        user_id: str,
        session_id: str,
        command_type: str,
        payload: Mapping[str, Any] | msgspec.Raw | None,
        idempotency_key: str | None,
    ) -> "SessionRequest":
        """Raises InvalidInput and its kin."""
        if not _COMMAND_TYPE.match(command_type):
            raise InvalidInput(
                "command_type: expected 1 to 64 of A-Z a-z 0-9 _ . -",
                field="command_type",
                value=command_type,
            )
        if idempotency_key is not None:
            _check_text("idempotency_key", idempotency_key, _MAX_KEY_CHARACTERS)
        return cls(
            tenant=check_id(tenant, "tenant"),
            user_id=check_user(user_id),
            session_id=check_uuid(session_id, "session_id"),
            command_type=command_type,
            payload=_json(payload),
            idempotency_key=idempotency_key,
        )

    @property
    def spec(self) -> CommandSpec:
        """Waits half an hour for somebody who can do it; then it has the usual time to run."""
        return CommandSpec(command_type=self.command_type, payload=self.payload, queue_for_ms=QUEUE_FOR_MS)

    @property
    def body_hash(self) -> str:
        """SHA-256 hex over what is asked for, however its JSON is written."""
        canonical = canonical_json(self.payload, "payload")
        return hashlib.sha256(self.command_type.encode() + b"\0" + canonical).hexdigest()

    @property
    def idempotency(self) -> Idempotency | None:
        """Keys are the user's own, in this session: nobody reaches another's command by guessing its key."""
        if self.idempotency_key is None:
            return None
        return Idempotency.of(
            self.tenant, self.user_id, self.idempotency_key, self.body_hash, session_id=self.session_id
        )


def check_user(user_id: str) -> str:
    """Raises InvalidInput."""
    return _check_text("user_id", user_id, _MAX_USER_CHARACTERS)


def _check_text(field: str, text: str, most: int) -> str:
    if not text or len(text) > most or not text.isprintable():
        raise InvalidInput(f"{field}: expected 1 to {most} printable characters", field=field)
    return text


def _json(payload: Mapping[str, Any] | msgspec.Raw | None) -> bytes:
    try:
        text = bytes(payload) if isinstance(payload, msgspec.Raw) else msgspec.json.encode(payload)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"payload: expected what JSON can say: {error}", field="payload") from error
    if len(text) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"payload: {len(text)} bytes, limit {MAX_PAYLOAD_BYTES}", field="payload", value=len(text)
        )
    check_json(text, "payload")
    return text
