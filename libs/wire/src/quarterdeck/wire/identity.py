"""An agent's identity: one Ed25519 key, and the proofs that it holds it. Source: RFC 8032.

Owns the key file and the exact bytes that are signed. The agent makes proofs, the gateway checks them; who is
enrolled and who is revoked is the registry's business.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NONCE_BYTES: Final = 32
"""Length of a gateway's challenge."""

_ENROL_DOMAIN: Final = b"quarterdeck enrol v1\x00"
_HELLO_DOMAIN: Final = b"quarterdeck hello v1\x00"
"""A signature made for one purpose must not pass for another: each starts with its own words."""


class AgentKey:
    """The private half. Never leaves the agent."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: Final = private_key.public_key().public_bytes_raw()
        """32 bytes."""

    @classmethod
    def generate(cls) -> "AgentKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> "AgentKey":
        """The key in `path` (32 raw bytes, mode 0600), made there when the file is missing.

        Raises ValueError when the file holds no key. A new key appears whole or not at all, also after a
        crash.
        """
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
        except FileNotFoundError:
            key = cls.generate()
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key._private_key.private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return key

    def prove_enrol(self, nonce: bytes, agent_id: str) -> bytes:
        """Enrol.signature: 64 bytes."""
        return self._private_key.sign(_ENROL_DOMAIN + nonce + agent_id.encode())

    def prove_hello(self, nonce: bytes, agent_id: str) -> bytes:
        """Hello.signature: 64 bytes."""
        return self._private_key.sign(_HELLO_DOMAIN + nonce + agent_id.encode())


def enrol_proof_valid(public_key: bytes, signature: bytes, *, nonce: bytes, agent_id: str) -> bool:
    """Whether the holder of `public_key` asks, now, to be enrolled as `agent_id`."""
    return _valid(public_key, signature, _ENROL_DOMAIN + nonce + agent_id.encode())


def hello_proof_valid(public_key: bytes, signature: bytes, *, nonce: bytes, agent_id: str) -> bool:
    """Whether the holder of `public_key` says, now, that it is `agent_id`."""
    return _valid(public_key, signature, _HELLO_DOMAIN + nonce + agent_id.encode())


def _valid(public_key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):  # ValueError: not 32 bytes
        return False
    return True
