"""Bearer tokens: text in the request → who asks. Only hashes are stored, and they are watched in memory.

The look-up is by the SHA-256 of what was sent. Nobody can steer a hash towards a stored one, so how long the look-up
takes tells nothing of the token.
"""

import hashlib
import secrets
from typing import Final

import msgspec

from quarterdeck.contracts.agents import ApiToken
from quarterdeck.contracts.errors import NotAuthenticated
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import api_token_key

_SCHEME: Final = b"bearer "
_MAX_TOKEN_BYTES: Final = 512
TOKEN_PREFIX: Final = "qd_"
"""Lets secret scanners recognise a leaked token."""
_SECRET_BYTES: Final = 32


class Principal(msgspec.Struct, frozen=True):
    """Who asks. `name` becomes user_id of what the request creates."""

    tenant: str
    name: str
    token_id: str


def new_token_text() -> str:
    """A fresh token; shown once, then only its hash is known."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def token_hash(text: str) -> str:
    """What the registry files a token under: SHA-256, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


class Authenticator:
    """Reads the registry's memory; its tokens must be watched."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._tokens = registry.tokens
        self._clock = clock

    def by_header(self, authorization: bytes | None) -> Principal:
        """`authorization`: the header's value. Raises NotAuthenticated."""
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise NotAuthenticated("send `Authorization: Bearer <token>`", field="Authorization")
        raw = authorization[len(_SCHEME) :].strip()
        if len(raw) > _MAX_TOKEN_BYTES:
            raise NotAuthenticated("the token is not valid", field="Authorization")
        entry = self._tokens.current.get(api_token_key(hashlib.sha256(raw).hexdigest()))
        token = entry.value if entry is not None else None
        if not isinstance(token, ApiToken) or self._expired(token):
            raise NotAuthenticated("the token is not valid", field="Authorization")
        return Principal(token.tenant, token.principal, token.token_id)

    def holds(self, principal: Principal) -> bool:
        """Whether the token that `principal` came in with is still good. For connections that outlive a request."""
        return any(
            isinstance(token := entry.value, ApiToken)
            and token.token_id == principal.token_id
            and not self._expired(token)
            for entry in self._tokens.current.values()
        )

    def _expired(self, token: ApiToken) -> bool:
        return token.expires_at_ms is not None and token.expires_at_ms <= self._clock.now_ms()
