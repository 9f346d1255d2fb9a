"""Join tokens: permission to enrol, and the CA to trust while doing so, in one line of text.

    qdj_<secret>.<CA certificate, DER, base64url>

The token carries the CA itself, so an agent that has nothing else can verify the gateway it talks to. Made by
the API, read by agents; gateways see only the secret and look up its hash. How long it is valid is in the
registry.
"""

import base64
import binascii
import hashlib
import re
import secrets
import ssl
from typing import Final, NamedTuple

from quarterdeck.contracts.errors import QuarterdeckError

_PREFIX: Final = "qdj_"
"""Lets secret scanners recognise a leaked token."""
_SECRET_BYTES: Final = 32
_SECRET_PATTERN: Final = re.compile(r"\A[A-Za-z0-9_-]{20,128}\Z")


class InvalidJoinToken(QuarterdeckError):
    """Text that is no join token. The text itself is not repeated: it may be most of a secret."""

    code = "invalid_join_token"


class JoinToken(NamedTuple):
    secret: str
    """Base64url text; sent as Enrol.join_secret."""
    ca_der: bytes
    """The CA certificate that gateways' certificates must chain to."""

    @classmethod
    def create(cls, ca_der: bytes) -> "JoinToken":
        return cls(secrets.token_urlsafe(_SECRET_BYTES), ca_der)

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Raises InvalidJoinToken; surrounding white space is fine."""
        head, dot, certificate = text.strip().partition(".")
        if not head.startswith(_PREFIX) or not dot:
            raise InvalidJoinToken("a join token looks like qdj_….…")
        secret = head.removeprefix(_PREFIX)
        if not _SECRET_PATTERN.match(secret):
            raise InvalidJoinToken("the secret part of the join token is damaged")
        try:
            ca_der = base64.b64decode(
                certificate + "=" * (-len(certificate) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            raise InvalidJoinToken("the certificate part of the join token is damaged") from None
        if not ca_der:
            raise InvalidJoinToken("the join token carries no CA certificate")
        return cls(secret, ca_der)

    @property
    def ca_pem(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self.ca_der)

    def __str__(self) -> str:
        return f"{_PREFIX}{self.secret}.{base64.urlsafe_b64encode(self.ca_der).rstrip(b'=').decode()}"

    def __repr__(self) -> str:
        """Keeps the secret out of logs and tracebacks."""
        return "JoinToken(…)"


def secret_hash(secret: str) -> str:
    """SHA-256 of the secret, hex: what the registry files the token under."""
    return hashlib.sha256(secret.encode()).hexdigest()
