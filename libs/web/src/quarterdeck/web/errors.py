"""Errors of HTTP itself, beside those of contracts/errors.py. problems.py gives each its status.

QuarterdeckError
├── InvalidInput
│   └── MalformedBody       no JSON at all
├── BodyTooLarge            over MAX_BODY_BYTES; refused before it is read whole
├── NotFound
│   └── PathNotFound
├── MethodNotAllowed
└── UpgradeRequired         a plain request where only WebSockets are
"""

from quarterdeck.contracts.errors import InvalidInput, NotFound, QuarterdeckError


class MalformedBody(InvalidInput):
    """The body is no JSON text."""

    code = "malformed_body"

    def __init__(self, reason: str) -> None:
        super().__init__(f"body: {reason}", field="body")


class BodyTooLarge(QuarterdeckError):
    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"body: more than {limit_bytes} bytes", field="body")
        self.limit_bytes = limit_bytes


class PathNotFound(NotFound):
    code = "path_not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"no such path: {path[:200]}")


class MethodNotAllowed(QuarterdeckError):
    code = "method_not_allowed"

    def __init__(self, method: str) -> None:
        super().__init__(f"this path does not take {method[:20]}")


class UpgradeRequired(QuarterdeckError):
    code = "upgrade_required"

    def __init__(self) -> None:
        super().__init__("this path takes WebSockets alone")
