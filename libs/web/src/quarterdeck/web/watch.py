"""The watch paths: which they are, and what the documents say of them. The broadcaster serves them.

The api knows them too: it describes them, and where there is only one port it forwards them.
"""

import re
from typing import Final

from quarterdeck.web.operations import Operation

WATCH_PATHS: Final = re.compile(
    r"/api/events|/api/command/[^/]+/events|/api/batch_commands/[^/]+/(?:events|ws)", re.ASCII
)
"""Where a ticket opens as a token does."""

BATCH_SOCKET_PATH: Final = "/api/batch_commands/{batch_command_id}/ws"

EVENT_STREAM: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"

_HEADERS: Final = ("Accept", "Last-Event-ID")

WATCH_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/api/command/{command_id}/events",
        action="command.watch",
        summary="Follow one command: events and output, live, resumable.",
        answers={200: EVENT_STREAM, 204: ""},
        headers=_HEADERS,
    ),
    Operation(
        method="GET",
        path="/api/batch_commands/{batch_command_id}/events",
        action="batch.watch",
        summary="Follow a batch and all its commands.",
        answers={200: EVENT_STREAM, 204: ""},
        headers=_HEADERS,
    ),
    Operation(
        method="GET",
        path=BATCH_SOCKET_PATH,
        action="batch.watch",
        summary="Follow a batch and stop its tasks over a WebSocket.",
        answers={101: ""},
    ),
    Operation(
        method="GET",
        path="/api/events",
        action="tenant.watch",
        summary="Follow all that happens in the tenant; output left out.",
        answers={200: EVENT_STREAM},
        headers=_HEADERS,
    ),
)
