"""The rows of sessions in the table of operations."""

from typing import Final

from quarterdeck.api.handlers.session_requests import CreateSession, SubmitSessionCommand
from quarterdeck.api.views import sessions
from quarterdeck.web.operations import Operation

SESSION_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/api/sessions",
        action="session.create",
        summary="Begin a conversation.",
        request=CreateSession,
        answers={201: sessions.Session},
    ),
    Operation(
        method="POST",
        path="/api/sessions/{session_id}/commands",
        action="session.enqueue",
        summary="Send a command to whoever can do it; while one has not ended, it is answered with that one.",
        request=SubmitSessionCommand,
        answers={202: sessions.OneSessionCommand},
        headers=("Idempotency-Key",),
    ),
    Operation(
        method="GET",
        path="/api/sessions/{session_id}/commands/{command_id}",
        action="session.read",
        summary="Show a command of a session.",
        answers={200: sessions.OneSessionCommand},
    ),
    Operation(
        method="GET",
        path="/api/sessions/{session_id}/pending-command",
        action="session.read",
        summary="Show the command that has not ended; its command_id is null when there is none.",
        answers={200: sessions.PendingCommand},
    ),
)
