"""Why a session's request is refused. The messages are for users; causes are in the log (error_handler.py).

QuarterdeckError
└── SessionRefused
    ├── SessionAccessDenied     403: somebody else's session
    ├── SessionNotFound         404: no such session or command of it
    ├── SessionInputInvalid     400: `field` is at fault
    ├── SessionConflict         409: the request contradicts an earlier one, or the session went meanwhile
    └── SessionStorageFailed    500: nothing is lost, and the request may be repeated
"""

from typing import ClassVar

from quarterdeck.contracts.errors import QuarterdeckError


class SessionRefused(QuarterdeckError):
    """`status`: the document's number for the class; HTTP uses it as it is. `kind`: the class, for logs and metrics."""

    code = "session_refused"
    status: ClassVar[int] = 500
    kind: ClassVar[str] = "storage"


class SessionAccessDenied(SessionRefused):
    code = "session_access_denied"
    status = 403
    kind = "access"


class SessionNotFound(SessionRefused):
    code = "session_not_found"
    status = 404
    kind = "access"


class SessionInputInvalid(SessionRefused):
    code = "session_input_invalid"
    status = 400
    kind = "validation"


class SessionConflict(SessionRefused):
    code = "session_conflict"
    status = 409
    kind = "concurrency"


class SessionStorageFailed(SessionRefused):
    code = "session_storage_failed"
