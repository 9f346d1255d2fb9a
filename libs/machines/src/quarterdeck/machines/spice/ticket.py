"""Seals the password for the server: RSA-OAEP with SHA-1, as the protocol has it. Pure; called by link.py.

The server makes its key itself and nothing vouches for it: whoever answers in the server's place can read the password.
A Unix socket has no such place; a TCP port belongs on a network that you trust.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_der_public_key

from quarterdeck.machines.spice.messages import MalformedMessage

MAX_PASSWORD_BYTES: Final = 60
"""In UTF-8. A server takes no longer ones when its password is set (SPICE_MAX_PASSWORD_LENGTH)."""

_KEY_BITS: Final = 1024


def seal(password: str, public_key: bytes) -> bytes:
    """128 bytes. `public_key`: DER, SubjectPublicKeyInfo. Raises MalformedMessage when it is no RSA key of 1024 bits.

    A server that asks for no password wants a valid seal nevertheless.
    """
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage("a public key that is none") from error
    if not isinstance(key, RSAPublicKey) or key.key_size != _KEY_BITS:
        raise MalformedMessage(f"a public key that is not RSA of {_KEY_BITS} bits")
    oaep = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303  # the protocol has no other
    return key.encrypt(password.encode() + b"\0", oaep)
