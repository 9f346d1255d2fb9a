"""Errors of a session's request, in four classes: each is logged its own way and answered in words for users."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from quarterdeck.contracts.errors import (
    IdempotencyConflict,
    InvalidInput,
    NotAuthorised,
    NotFound,
    QuarterdeckError,
)
from quarterdeck.core import metrics
from quarterdeck.core.conversations.errors import (
    SessionAccessDenied,
    SessionConflict,
    SessionInputInvalid,
    SessionNotFound,
    SessionRefused,
    SessionStorageFailed,
)

log = structlog.get_logger()


class ConversationErrorHandler:
    @contextmanager
    def handling(self, session_id: str, user_id: str) -> Iterator[None]:
        """Whatever goes wrong inside is logged and counted once, and leaves as a SessionRefused."""
        try:
            yield
        except QuarterdeckError as error:
            refused = _refused(error)
            metrics.SESSION_ERRORS.labels(refused.kind).inc()
            _log(refused, error, session_id, user_id)
            if refused is error:
                raise
            raise refused from error


def _refused(error: QuarterdeckError) -> SessionRefused:
    match error:
        case SessionRefused():
            return error
        case IdempotencyConflict():
            return SessionConflict(
                "idempotency_key: was used in this session before, for another command",
                field="idempotency_key",
            )
        case InvalidInput():
            return SessionInputInvalid(error.message, field=error.field)
        case NotAuthorised():
            return SessionAccessDenied(error.message)
        case NotFound():
            return SessionNotFound(error.message, field=error.field)
        case _:
            return SessionStorageFailed("The command could not be stored just now. Please send it again.")


def _log(refused: SessionRefused, cause: QuarterdeckError, session_id: str, user_id: str) -> None:
    """An access log, a validation log, a concurrency log, and the stack where it is our doing."""
    fields = {"session_id": session_id, "user_id": user_id, "code": refused.code}
    match refused:
        case SessionAccessDenied() | SessionNotFound():
            log.warning("conversations.access_denied", **fields)
        case SessionInputInvalid():
            log.info("conversations.input_refused", **fields, field=refused.field)
        case SessionConflict():
            log.warning("conversations.conflict", **fields)
        case _:
            log.error("conversations.storage_failed", **fields, cause=cause.code, exc_info=cause)
