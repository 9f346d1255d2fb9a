"""Protobuf packed and parsed by hand: what the sample agents and the golden frames are made with.

Shares no line with the generated code, so a mistake in one of our proto files cannot hide behind itself. Knows wire
types and field numbers only; what a number means is written where it is used. A message is built by joining fields:

    pack(text(1, "c-1"), integer(2, 1), nested(8, text(1, "inner")))

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10
_U64: Final = (1 << 64) - 1


class NotAMessage(ValueError):
    """These bytes are no protobuf message."""


def varint(value: int) -> bytes:
    """A number below 2^64 in groups of seven bits, lowest first; negative ones take ten bytes (int32 and int64)."""
    value &= _U64
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def integer(number: int, value: int) -> bytes:
    """A field of type int32, int64, uint32, uint64, bool or enum."""
    return varint(number << 3 | _VARINT) + varint(value)


def octets(number: int, value: bytes) -> bytes:
    """A field of type bytes, or any other that carries its length."""
    return varint(number << 3 | _LENGTH) + varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    """A field of type string."""
    return octets(number, value.encode())


def nested(number: int, *fields: bytes) -> bytes:
    """A message as a field of another; one without fields is present all the same."""
    return octets(number, pack(*fields))


def pack(*fields: bytes) -> bytes:
    """A message."""
    return b"".join(fields)


class Message:
    """The fields of a parsed message, in the order of the wire. What is absent reads as its type's zero (proto3)."""

    def __init__(self, raw: bytes) -> None:
        """Raises NotAMessage."""
        self._fields = list(_fields(raw))

    def has(self, number: int) -> bool:
        return any(number == known for known, _ in self._fields)

    def numbers(self) -> list[int]:
        return [number for number, _ in self._fields]

    def integer(self, number: int) -> int:
        """As an unsigned number; the last one wins."""
        return next((v for n, v in reversed(self._fields) if n == number and isinstance(v, int)), 0)

    def signed(self, number: int) -> int:
        """As int32 or int64."""
        value = self.integer(number)
        return value - (1 << 64) if value >> 63 else value

    def octets(self, number: int) -> bytes:
        return next(iter(self.every(number)[-1:]), b"")

    def text(self, number: int) -> str:
        return self.octets(number).decode()

    def nested(self, number: int) -> "Message":
        return Message(self.octets(number))

    def every(self, number: int) -> list[bytes]:
        """Values of a repeated field that carries lengths."""
        return [value for known, value in self._fields if known == number and isinstance(value, bytes)]


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        key, at = _read_varint(raw, at)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise NotAMessage("field 0")
        if wire_type == _VARINT:
            value, at = _read_varint(raw, at)
            yield number, value
            continue
        if wire_type == _LENGTH:
            size, at = _read_varint(raw, at)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise NotAMessage(f"wire type {wire_type}")
        if at + size > len(raw):
            raise NotAMessage(f"field {number} ends after the message")
        yield number, raw[at : at + size]
        at += size


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, octet in enumerate(raw[at : at + _MAX_VARINT_BYTES]):
        value |= (octet & 0x7F) << (7 * index)
        if octet < 0x80:
            return value & _U64, at + index + 1
    raise NotAMessage("a varint without end")
