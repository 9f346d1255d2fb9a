"""GET /api/command/{id}/output: the full log of a command, as bytes with ranges or as NDJSON."""

import re
from typing import Final, NamedTuple

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from quarterdeck.api.errors import OutputTrimmed
from quarterdeck.api.handlers.requests import OutputQuery
from quarterdeck.api.output_log import Extent, OutputLog
from quarterdeck.api.parts import Parts
from quarterdeck.contracts.errors import InvalidInput, NotFound
from quarterdeck.contracts.output import OutputStream
from quarterdeck.core.store import CommandView, LostOutput
from quarterdeck.web.answers import Answer, RawHeaders, StreamedAnswer
from quarterdeck.web.decoding import decode_query
from quarterdeck.web.paths import WebRequest, path_id, query_of

NDJSON: Final = b"application/x-ndjson"
_BYTES: Final = b"application/octet-stream"
_TRUNCATED: Final = b"qd-truncated-bytes"
"""Header: what the command printed behind the last byte of the log, beyond its `max_output_bytes`."""
_LOST: Final = b"qd-lost-bytes"
"""Header: parts that the log has not any more, `from-to` with `to` behind the last byte, separated by commas."""
_RANGE: Final = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


class Span(NamedTuple):
    """Bytes `start` … `stop` - 1."""

    start: int
    stop: int


def output_routes(parts: Parts) -> list[HTTPRouteHandler]:
    @get("/api/command/{command_id:str}/output")
    async def download(request: WebRequest) -> ASGIResponse:
        query = decode_query(query_of(request), OutputQuery)
        stream = _stream(query.stream)
        view = await parts.store.command(request.user.tenant, path_id(request, "command_id"))
        if view is None:
            raise NotFound("command_id: no such command", field="command_id")
        attempt = query.attempt or view.attempt
        log = OutputLog(parts.bus, view, attempt)
        if NDJSON.decode() in request.headers.get("accept", ""):
            streams = tuple(OutputStream) if query.stream is None else (stream,)
            lines = log.lines(streams, offset=query.offset, as_text=query.text == 1)
            return StreamedAnswer(lines, media_type=NDJSON)
        try:
            extent = await log.extent(stream, query.offset)
        except OutputTrimmed as trimmed:
            await _tell_of_loss(parts, view, attempt, stream, trimmed.first_offset)
            raise
        wanted = request.headers.get("range")
        span = parse_range(wanted, extent) if wanted else None
        about: RawHeaders = ()
        if span is None:
            span, status = Span(min(query.offset, extent.end), extent.end), 200
        elif span.start >= span.stop:
            unsatisfied = f"bytes */{extent.end}".encode()
            return Answer(b"", status=416, media_type=_BYTES, headers=((b"content-range", unsatisfied),))
        else:
            shown = f"bytes {span.start}-{span.stop - 1}/{extent.end}".encode()
            status, about = 206, ((b"content-range", shown),)
        return StreamedAnswer(
            log.read(stream, span.start, span.stop),
            media_type=_BYTES,
            status=status,
            length=span.stop - span.start,
            headers=(
                (b"accept-ranges", b"bytes"),
                (b"x-content-type-options", b"nosniff"),
                (b"content-disposition", f'attachment; filename="{view.command_id}.{stream}"'.encode()),
                *_truncation(view, attempt, stream),
                *_loss(view, attempt, stream),
                *about,
            ),
        )

    return [download]


def _truncation(view: CommandView, attempt: int, stream: OutputStream) -> RawHeaders:
    if attempt != view.attempt:
        return ()  # of earlier attempts only the log is kept
    told = view.stdout if stream is OutputStream.STDOUT else view.stderr
    return ((_TRUNCATED, str(told.truncated_bytes).encode()),) if told.truncated_bytes else ()


def _loss(view: CommandView, attempt: int, stream: OutputStream) -> RawHeaders:
    told = view.stdout if stream is OutputStream.STDOUT else view.stderr
    if attempt != view.attempt or not told.lost:
        return ()
    return ((_LOST, ",".join(f"{start}-{end}" for start, end in told.lost).encode()),)


async def _tell_of_loss(
    parts: Parts, view: CommandView, attempt: int, stream: OutputStream, first_offset: int
) -> None:
    """The feed's limits were faster than we are: whoever watches the command hears of it, once."""
    loss = LostOutput(view.command_id, attempt, stream, ((0, first_offset),))
    written = await parts.store.lose_output([loss])
    await parts.relay.publish(written.entries, subject_id=view.command_id)


def parse_range(text: str, extent: Extent) -> Span | None:
    """A single range of RFC 9110 §14.1.2 over what is stored; empty when unsatisfiable; None when to be ignored."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or (found[1] is None and found[2] is None):
        return None
    if found[1] is None:
        return Span(max(extent.first, extent.end - int(found[2])), extent.end)
    start = int(found[1])
    stop = extent.end if found[2] is None else min(int(found[2]) + 1, extent.end)
    return Span(start, max(start, stop)) if start < extent.end else Span(start, start)


def _stream(name: str | None) -> OutputStream:
    try:
        return OutputStream(name or OutputStream.STDOUT)
    except ValueError:
        raise InvalidInput("stream: expected stdout or stderr", field="stream", value=name) from None
