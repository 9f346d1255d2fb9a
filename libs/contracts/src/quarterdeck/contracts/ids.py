"""Identifiers: their one pattern, UUIDv7 with the Redis shard inside, and the ids of a batch's children.

The shard rides in the low six bits, so that whoever holds an id knows which Redis slot owns it without asking anybody,
and a batch, its children, their outbox and deadlines share one slot (one script touches them all).
"""

import hashlib
import re
import uuid
from typing import Final, NamedTuple

import uuid_utils

from quarterdeck.contracts.errors import InvalidId, InvalidTarget

ID_PATTERN: Final = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")
"""What may enter a subject or a key. No dot, star, angle bracket, brace, space or line break can get through."""

SHARDS: Final = 64
_SHARD_MASK: Final = SHARDS - 1
_RANDOM_BITS: Final = 62


class Target(NamedTuple):
    """One machine: an agent, or a guest behind an agent."""

    agent_id: str
    guest: str | None = None

    def __str__(self) -> str:
        return self.agent_id if self.guest is None else f"{self.agent_id}/{self.guest}"


def check_id(value: str, field: str) -> str:
    """Return `value` unchanged. Raises InvalidId naming `field` when it is outside ID_PATTERN."""
    if not ID_PATTERN.match(value):
        raise InvalidId(field=field, value=value)
    return value


def parse_target(text: str, field: str) -> Target:
    """`agent` or `agent/guest`. Raises InvalidTarget naming `field` when a part is outside ID_PATTERN."""
    agent_id, slash, guest = text.partition("/")
    if not ID_PATTERN.match(agent_id) or (slash and not ID_PATTERN.match(guest)):
        raise InvalidTarget(field=field, value=text)
    return Target(agent_id, guest if slash else None)


def new_id(shard: int | None = None) -> str:
    """A fresh UUIDv7 (RFC 9562 §5.7) in canonical text; `shard` 0–63, random when None."""
    number = uuid_utils.uuid7().int
    if shard is not None:
        number = (number & ~_SHARD_MASK) | shard
    return str(uuid.UUID(int=number))


def shard_of(identifier: str) -> int:
    """The shard inside an id made by `new_id` or `child_id`. Raises InvalidId when it is no UUID."""
    try:
        return int(identifier[-2:], 16) & _SHARD_MASK
    except ValueError:
        raise InvalidId(field="id", value=identifier) from None


def shard_for(*parts: str) -> int:
    """The shard that a tuple of names always falls into, e.g. (tenant, principal, idempotency key)."""
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=8).digest()
    return digest[-1] & _SHARD_MASK


def check_uuid(value: str, field: str) -> str:
    """Return `value` in canonical lower case. Raises InvalidId naming `field` when it is no UUID."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise InvalidId(field=field, value=value) from None


def child_id(batch_id: str, index: int) -> str:
    """The id of the child at `index` (from 0) of a batch: a pure function, so redelivery creates nothing twice.

    Keeps the batch's millisecond and shard, so children sort beside their batch.
    """
    batch = uuid.UUID(batch_id).int
    digest = hashlib.blake2b(f"{batch_id}:{index}".encode(), digest_size=16).digest()
    noise = int.from_bytes(digest)
    timestamp = batch >> 80
    rand_a = (noise >> 64) & 0xFFF
    rand_b = (noise & ((1 << _RANDOM_BITS) - 1) & ~_SHARD_MASK) | (batch & _SHARD_MASK)
    return str(uuid.UUID(int=(timestamp << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b))


def created_at_ms(identifier: str) -> int:
    """The Unix milliseconds inside a UUIDv7."""
    return uuid.UUID(identifier).int >> 80
