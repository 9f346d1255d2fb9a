"""The log events that seed 3 names, under exactly those names: dashboards of that system look for them (S3-13).

So they have no dots, unlike all others of ours. Never the payload, never the idempotency key itself.
"""

import structlog

_points = structlog.get_logger("conversations")


def command_received(session_id: str, user_id: str, command_type: str, *, has_key: bool) -> None:
    _points.info(
        "command_received",
        session_id=session_id,
        user_id=user_id,
        command_type=command_type,
        has_idempotency_key=has_key,
    )


def access_verification(session_id: str, user_id: str, *, granted: bool) -> None:
    _points.info("access_verification", session_id=session_id, user_id=user_id, granted=granted)


def idempotency_check(session_id: str, hit: str | None, command_id: str | None) -> None:
    """`hit`: `key` or `pending`, with the command that stands for the request; None: it is new."""
    _points.info("idempotency_check", session_id=session_id, hit=hit, existing_command_id=command_id)


def command_created(session_id: str, command_id: str, command_type: str) -> None:
    _points.info("command_created", session_id=session_id, command_id=command_id, command_type=command_type)


def event_generated(session_id: str, command_id: str, event_id: str, event_type: str) -> None:
    _points.info(
        "event_generated",
        session_id=session_id,
        command_id=command_id,
        event_id=event_id,
        event_type=event_type,
    )


def round_created(session_id: str, command_id: str, number: int) -> None:
    _points.info("round_created", session_id=session_id, command_id=command_id, round=number)
