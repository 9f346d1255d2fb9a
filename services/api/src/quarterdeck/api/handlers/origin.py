"""Where a request comes from and what makes it unique: principal, time, idempotency key."""

import hashlib
from typing import Final, NamedTuple

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.ids import new_id, shard_for
from quarterdeck.contracts.json_text import canonical_json
from quarterdeck.core.store import Idempotency
from quarterdeck.web.tokens import Principal

_MAX_KEY_CHARACTERS: Final = 200


class Origin(NamedTuple):
    principal: Principal
    now_ms: int
    idempotency_key: str | None = None
    body_hash: str = ""
    """SHA-256 hex over path and canonical body; empty without a key."""

    @property
    def idempotency(self) -> Idempotency | None:
        if self.idempotency_key is None:
            return None
        principal = self.principal
        return Idempotency.of(principal.tenant, principal.name, self.idempotency_key, self.body_hash)

    def fresh_id(self) -> str:
        """In the shard of the idempotency key, so that all requests with one key meet in one script."""
        if self.idempotency_key is None:
            return new_id()
        return new_id(shard_for(self.principal.tenant, self.principal.name, self.idempotency_key))

    @property
    def event_members(self) -> dict[str, str]:
        """What the creating event tells of it, so that a lost store can be built again."""
        key = {"idempotency_key": self.idempotency_key, "body_hash": self.body_hash}
        return {"user_id": self.principal.name, **({n: v for n, v in key.items() if v})}


def origin_of(principal: Principal, now_ms: int, *, key: str | None, path: str, body: bytes) -> Origin:
    """`key`: the Idempotency-Key header; `body` must be JSON when there is one. Raises InvalidInput."""
    if key is None:
        return Origin(principal, now_ms)
    if not key or len(key) > _MAX_KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput(
            f"Idempotency-Key: expected 1 to {_MAX_KEY_CHARACTERS} printable characters",
            field="Idempotency-Key",
        )
    canonical = canonical_json(body, "body")
    return Origin(principal, now_ms, key, hashlib.sha256(path.encode() + b"\0" + canonical).hexdigest())
