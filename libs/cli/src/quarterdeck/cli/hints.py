"""What helps, for the errors that people meet first. Pure; called by main.py and `doctor`."""

from typing import Final

from quarterdeck.cli.errors import ApiProblem, ServerUnreachable, WatchLost
from quarterdeck.cli.escaping import escape
from quarterdeck.contracts.errors import QuarterdeckError

_BY_API_CODE: Final = {
    "not_authenticated": "give a token with QD_TOKEN or --token; `qd up` prints one",
    "not_authorised": "this token may not do that",
    "unknown_agent": "`qd agents` lists the machines",
    "unavailable": "NATS or Redis is away; nothing was lost, try again",
    "not_confirmed": "it is stored and will be carried out; do not send it again without the same idempotency key",
}


def hint(error: QuarterdeckError) -> str:
    """A line break and what helps, or nothing."""
    match error:
        case ServerUnreachable():
            advice = "is it running? `qd up` starts one here; `qd doctor` looks closer"
        case ApiProblem(api_code=code) if code in _BY_API_CODE:
            advice = _BY_API_CODE[code]
        case ApiProblem(members={"unknown": [*names]}):
            advice = f"unknown: {escape(', '.join(map(str, names[:10])))}"
        case WatchLost():
            advice = "the run goes on; `qd ls` and `qd tail -f` find it again"
        case _:
            return ""
    return f"\n    {advice}"
