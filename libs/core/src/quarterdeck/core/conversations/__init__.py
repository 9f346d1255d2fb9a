"""Conversation commands: what a user of a session asks for is taken in once, with its event and its round.

    service.py         ConversationCommandService: the calls, in order
    access.py          may this user work with this session?
    requests.py        what was asked for, checked; the idempotency of it
    rounds.py          the one act: command, domain event, outbox entry and round
    event_handler.py   the domain event; nobody hears of a command before the bus has it
    serializer.py      what a caller gets of a command (pluggable)
    error_handler.py   the four classes of errors: each logged its own way, each with friendly words
    log_points.py      the six log events that the document names

For programs that embed it and for the api service; knows no HTTP. Delivery is the dispatcher's. Source: seed 3.
"""

from quarterdeck.core.conversations.error_handler import ConversationErrorHandler
from quarterdeck.core.conversations.errors import (
    SessionAccessDenied,
    SessionConflict,
    SessionInputInvalid,
    SessionNotFound,
    SessionRefused,
    SessionStorageFailed,
)
from quarterdeck.core.conversations.requests import SessionRequest
from quarterdeck.core.conversations.serializer import (
    ConversationSerializer,
    MembersSerializer,
    SessionCommand,
)
from quarterdeck.core.conversations.service import ConversationCommandService

__all__ = [
    "ConversationCommandService",
    "ConversationErrorHandler",
    "ConversationSerializer",
    "MembersSerializer",
    "SessionAccessDenied",
    "SessionCommand",
    "SessionConflict",
    "SessionInputInvalid",
    "SessionNotFound",
    "SessionRefused",
    "SessionRequest",
    "SessionStorageFailed",
]
