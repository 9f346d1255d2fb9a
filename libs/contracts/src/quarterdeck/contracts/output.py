"""Output chunks as they lie in QD_FEED: the payload is the raw bytes, all else is in headers."""

from enum import StrEnum
from typing import Final

import msgspec


class OutputStream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


OFFSET_HEADER: Final = "Qd-Offset"
"""Offset of the first byte within its stream, decimal."""
AGENT_HEADER: Final = "Qd-Agent"
TIME_HEADER: Final = "Qd-Time"
"""Agent's clock when the last byte was read, Unix milliseconds."""


class OutputChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One stored piece of one stream. Chunks of a stream are contiguous: offset + len(data) is the next offset."""

    command_id: str
    attempt: int
    agent_id: str
    stream: OutputStream
    offset: int
    at_ms: int
    data: bytes
    sequence: int = 0
    """Of the message in QD_FEED."""
