"""One small HTTP GET, for readiness. No client library: importing one costs more than a service's whole start.

Owns HTTP/1.0 over one connection per call, bodies up to a limit. Called by the supervisor's parts, never for users.
"""

import asyncio
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_TIMEOUT_S: Final = 2.0


class Answer(NamedTuple):
    status: int
    body: bytes


async def get(url: str, *, token: str | None = None, unix_socket: Path | None = None) -> Answer | None:
    """None when nobody answers: not listening yet, closing, or too slow. `url`: http://host:port/path?query."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await _get(url, token, unix_socket)
    except (OSError, TimeoutError, ValueError):
        return None


async def _get(url: str, token: str | None, unix_socket: Path | None) -> Answer:
    parts = urlsplit(url)
    if unix_socket is not None:
        reader, writer = await asyncio.open_unix_connection(unix_socket)
    else:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lines = [f"GET {target} HTTP/1.0", f"Host: {parts.netloc}", "Accept: application/json"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        writer.write("\r\n".join((*lines, "", "")).encode())
        raw = await _read_all(reader)
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    return Answer(int(head.split(maxsplit=2)[1]), body)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    pieces = bytearray()
    while piece := await reader.read(65536):
        pieces += piece
        if len(pieces) > _MAX_BODY_BYTES:
            raise ValueError("answer too large")
    if b"\r\n\r\n" not in pieces:
        raise ValueError("cut off")
    return bytes(pieces)
