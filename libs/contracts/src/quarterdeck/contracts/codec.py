"""Bytes ↔ messages: MessagePack with a tag that names type and version, size checked before decoding."""

from typing import Any, Generic, TypeVar

import msgspec

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.limits import MAX_MESSAGE_BYTES

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def encode(message: Any) -> bytes:
    """Any struct of this package."""
    return _encoder.encode(message)


class Decoder(Generic[T]):
    """Decodes one type or one tagged union. `Decoder[QueuedMessage](QueuedMessage)`."""

    def __init__(self, kind: Any, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._max_bytes = max_bytes

    def decode(self, raw: bytes) -> T:
        """Raises DecodeError when `raw` is too large, malformed, or of an unknown tag."""
        if len(raw) > self._max_bytes:
            raise DecodeError(f"message of {len(raw)} bytes, limit {self._max_bytes}")
        try:
            return self._decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(str(error)) from error
