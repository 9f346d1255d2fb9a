"""Problem documents of this API: the source system's own members stand beside RFC 9457's (S0-18, S3-12)."""

from typing import Final

from quarterdeck.api.errors import ROWS, RateLimited
from quarterdeck.contracts.errors import QuarterdeckError, UnknownAgent
from quarterdeck.core.conversations import SessionRefused
from quarterdeck.web.problems import Problem, problem_of

_SEED_0_PATHS: Final = ("/api/command", "/api/commands")
_SESSIONS: Final = "/api/sessions"


def api_problem(error: QuarterdeckError, path: str) -> Problem:
    """`path`: of the request. The paths of seed 0 and of seed 3 answer `{success: false, error}` too."""
    problem = problem_of(error, ROWS)
    if isinstance(error, RateLimited):
        problem.headers.update(rate_headers(error))
    if path.startswith("/api/command/") or path in _SEED_0_PATHS:
        text = (
            f"client not connected: {error.agent_ids[0]}"
            if isinstance(error, UnknownAgent)
            else problem.members["detail"]
        )
        problem.members.update(success=False, error=text)
    if path == _SESSIONS or path.startswith(f"{_SESSIONS}/"):
        words = error.message if isinstance(error, SessionRefused) else problem.members["detail"]
        problem.members.update(success=False, error=words)
    return problem


def rate_headers(error: RateLimited) -> dict[str, str]:
    """Source: RFC 9110 §10.2.3, and draft-ietf-httpapi-ratelimit-headers-10."""
    name = f'"{error.policy}"'
    return {
        "Retry-After": str(error.retry_after_s),
        "RateLimit-Policy": f"{name};q={error.quota};w={error.window_s}",
        "RateLimit": f"{name};r=0;t={error.retry_after_s}",
    }
