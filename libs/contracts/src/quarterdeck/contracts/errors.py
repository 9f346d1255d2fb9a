"""Every error that crosses a boundary of ours: a type with fields and a stable code.

    QuarterdeckError
    ├── InvalidInput            bad request; names the field and what was expected
    │   ├── InvalidId, InvalidTarget, InvalidTimeout, InvalidCursor, InvalidEventId
    │   ├── PayloadTooLarge, UnsupportedValue, ScriptNotFound
    │   └── IdempotencyConflict
    ├── NotFound                command, batch or agent that does not exist for this tenant
    │   └── UnknownAgent
    ├── NotAuthenticated, NotAuthorised
    ├── AgentUnreachable        known, but no link
    ├── TooManyInFlight
    ├── Unavailable             NATS or Redis away; try again after `retry_after_s`
    │   └── NotConfirmed        stored, but the bus has not confirmed it yet
    ├── DecodeError             bytes that are no message of ours
    └── LinkRefused             why a gateway closes an agent's link

`code` is stable and public; the text may change. HTTP statuses are chosen by the api service, not here.
"""

from typing import ClassVar


class QuarterdeckError(Exception):
    """Base of all. `code`: stable, snake_case; `field`: the request member at fault, when there is one."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidInput(QuarterdeckError):
    """A member of a request has a value that we do not accept."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str, value: object = None) -> None:
        super().__init__(message, field=field)
        self.value = value


class InvalidId(InvalidInput):
    code = "invalid_id"

    def __init__(self, *, field: str, value: str) -> None:
        super().__init__(f"{field}: expected 1 to 64 of A-Z a-z 0-9 _ -", field=field, value=value)


class InvalidTarget(InvalidInput):
    code = "invalid_target"

    def __init__(self, *, field: str, value: str) -> None:
        super().__init__(
            f"{field}: expected `agent` or `agent/guest`, each 1 to 64 of A-Z a-z 0-9 _ -",
            field=field,
            value=value,
        )


class InvalidTimeout(InvalidInput):
    code = "invalid_timeout"


class InvalidCursor(InvalidInput):
    code = "invalid_cursor"


class InvalidEventId(InvalidInput):
    code = "invalid_event_id"


class PayloadTooLarge(InvalidInput):
    code = "payload_too_large"


class UnsupportedValue(InvalidInput):
    code = "unsupported_value"


class ScriptNotFound(InvalidInput):
    code = "script_not_found"


class IdempotencyConflict(InvalidInput):
    """The same idempotency key came with another body."""

    code = "idempotency_conflict"


class NotFound(QuarterdeckError):
    code = "not_found"


class UnknownAgent(NotFound):
    """`agent_ids`: the targets that no registry entry of the tenant names."""

    code = "unknown_agent"

    def __init__(self, agent_ids: tuple[str, ...], *, field: str) -> None:
        super().__init__(f"{field}: no such agent: {', '.join(agent_ids[:5])}", field=field)
        self.agent_ids = agent_ids


class NotAuthenticated(QuarterdeckError):
    code = "not_authenticated"


class NotAuthorised(QuarterdeckError):
    code = "not_authorised"


class AgentUnreachable(QuarterdeckError):
    """Known, without a link, and nobody asked to queue for it. `command_id`: the command recorded as unreachable."""

    code = "agent_unreachable"

    def __init__(self, agent_id: str, command_id: str) -> None:
        super().__init__(f"client not connected: {agent_id}")
        self.agent_id = agent_id
        self.command_id = command_id


class TooManyInFlight(QuarterdeckError):
    code = "too_many_in_flight"


class Unavailable(QuarterdeckError):
    """A broker is away. Nothing was done, or what was done is safe to repeat."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotConfirmed(Unavailable):
    """Stored with its outbox entry, which a sweep will publish; the bus did not confirm in time.

    `subject_id`: the command or batch.
    """

    code = "not_confirmed"

    def __init__(self, subject_id: str) -> None:
        super().__init__(f"{subject_id} is stored but not yet confirmed by the bus")
        self.subject_id = subject_id


class DecodeError(QuarterdeckError):
    """Bytes that are no message of ours: too large, malformed, or of an unknown tag."""

    code = "decode_error"


class LinkRefused(QuarterdeckError):
    """A gateway will not serve this link. `reason`: a LinkEnd of links.py, sent to the agent in Goodbye."""

    code = "link_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
