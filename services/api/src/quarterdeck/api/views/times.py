"""Times in answers: RFC 3339, UTC, `Z`."""

from quarterdeck.contracts.events import rfc3339


def maybe_rfc3339(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
