"""JetStream's error codes as our types: the one place where they are read.

Source: nats-server, server/errors.json; the codes are stable by promise.
"""

import re
from typing import Final

import msgspec

from quarterdeck.core.bus.errors import (
    ApiError,
    BusError,
    ConsumerNotFound,
    StreamNotFound,
    WrongLastSequence,
)

CONSUMER_NOT_FOUND: Final = 10014
STREAM_NOT_FOUND: Final = 10059
STREAM_NAME_IN_USE: Final = 10058
MESSAGE_NOT_FOUND: Final = 10037
_WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_UNAVAILABLE_STATUS: Final = 503
"""No leader, too few peers, storage pressure: all pass."""

_STORE_NOT_MADE: Final = 10049
"""A stream of that name was deleted a moment ago and its directory is still going away. Seen with nats-server 2.15."""

_ACTUAL: Final = re.compile(r"(\d+)\s*$")


class ErrorBody(msgspec.Struct):
    """Source: nats-server `ApiError`."""

    code: int = 0
    err_code: int = 0
    description: str = ""


def is_transient(error: ErrorBody) -> bool:
    """Whether the same call may succeed in a moment."""
    return error.code == _UNAVAILABLE_STATUS or error.err_code == _STORE_NOT_MADE


def error_of(call: str, error: ErrorBody, *, expected_sequence: int = 0) -> BusError:
    """`call`: the API call or the subject of the publish, for the text."""
    if error.err_code in _WRONG_LAST_SEQUENCE:
        found = _ACTUAL.search(error.description)
        return WrongLastSequence(call, expected_sequence, int(found.group(1)) if found else None)
    kinds: dict[int, type[ApiError]] = {
        STREAM_NOT_FOUND: StreamNotFound,
        CONSUMER_NOT_FOUND: ConsumerNotFound,
    }
    kind = kinds.get(error.err_code, ApiError)
    return kind(call, error.code, error.err_code, error.description)
