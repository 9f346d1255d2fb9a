"""What can go wrong between the command line and the server, as types with fields.

    QuarterdeckError
    ├── UsageError          the user's flags contradict each other or say nothing
    ├── NoServer            no address of a server, and no embedded system to be found
    ├── ServerUnreachable   an address, and nobody there
    ├── ApiProblem          the server's own typed error (RFC 9457)
    └── WatchLost           an event stream broke and could not be resumed

main.py prints them as one line with a hint and exits with 1; nothing here is a traceback for the user.
"""

from typing import Any

from quarterdeck.contracts.errors import QuarterdeckError


class UsageError(QuarterdeckError):
    code = "usage"


class NoServer(QuarterdeckError):
    code = "no_server"


class ServerUnreachable(QuarterdeckError):
    """`url`: the base address that was tried; `cause`: what the network said."""

    code = "server_unreachable"

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"nobody answers at {url}: {cause}")
        self.url = url
        self.cause = cause


class ApiProblem(QuarterdeckError):
    """An answer of 4xx or 5xx. `api_code`: the server's stable code; `members`: the whole problem document."""

    code = "api_problem"

    def __init__(self, status: int, members: dict[str, Any]) -> None:
        detail = members.get("detail") or members.get("error") or members.get("title") or f"status {status}"
        field = members.get("field")
        super().__init__(str(detail), field=field if isinstance(field, str) else None)
        self.status = status
        self.members = members
        self.api_code = str(members.get("code", "unknown"))


class WatchLost(QuarterdeckError):
    """`last_event_id`: from where another watch would go on."""

    code = "watch_lost"

    def __init__(self, path: str, last_event_id: str | None, cause: str) -> None:
        super().__init__(f"lost the event stream {path}: {cause}")
        self.path = path
        self.last_event_id = last_event_id
