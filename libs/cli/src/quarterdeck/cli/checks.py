"""What `qd doctor` looks at, one check after the other, each with what helps.

Owns the checks. A check never raises: what it meets is its finding. Called by verbs/doctor.py.
"""

import email.utils
import time
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import msgspec

from quarterdeck.cli.client.api import Api
from quarterdeck.cli.client.models import Agent
from quarterdeck.cli.errors import ApiProblem, ServerUnreachable
from quarterdeck.cli.folding import fold

_SKEW_LIMIT_S: Final = 5.0
"""Beyond this, certificates and tokens begin to fail."""


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


class Finding(msgspec.Struct, frozen=True):
    verdict: Verdict
    check: str
    seen: str
    remedy: str = ""


async def examine(api: Api, own_version: str) -> list[Finding]:
    """All findings; stops where nothing further can be asked."""
    reached = await _reachable(api)
    if reached.verdict is Verdict.BROKEN:
        return [reached]
    findings = [reached, *await _readiness(api), await _clock(api)]
    agents, token = await _token(api)
    findings.append(token)
    if agents is not None:
        findings += [_links(agents), _versions(agents, own_version)]
    return findings


async def _reachable(api: Api) -> Finding:
    try:
        await api.health()
    except ServerUnreachable as error:
        return Finding(
            Verdict.BROKEN, "server", error.message, "start one with `qd up`, or set QD_URL to where it is"
        )
    return Finding(Verdict.OK, "server", api.base_url)


async def _readiness(api: Api) -> list[Finding]:
    health = await api.health()
    problems = health.members.get("problems")
    if health.status == HTTPStatus.OK or not isinstance(problems, dict):
        return [Finding(Verdict.OK, "brokers", "NATS and Redis answer")]
    remedies = {
        "nats": "look at nats/nats.log in the data directory; commands wait in the meantime",
        "redis": "look at redis/redis.log in the data directory; requests answer 503 in the meantime",
    }
    return [
        Finding(Verdict.BROKEN, name, str(what), remedies.get(name, "look at the service's log"))
        for name, what in problems.items()
    ]


async def _clock(api: Api) -> Finding:
    response = await api.http.get("/health/live")
    date = response.headers.get("date")
    if date is None:
        return Finding(Verdict.OK, "clock", "the server does not tell its time")
    skew_s = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    if abs(skew_s) <= _SKEW_LIMIT_S:
        return Finding(Verdict.OK, "clock", "agrees with the server's")
    ahead = "behind" if skew_s > 0 else "ahead of"
    return Finding(
        Verdict.WARNING, "clock", f"{abs(skew_s):.0f} s {ahead} the server's", "let NTP set both clocks"
    )


async def _token(api: Api) -> tuple[list[Agent] | None, Finding]:
    try:
        agents = await api.enrolled_agents()
    except ApiProblem as problem:
        remedy = "set QD_TOKEN; `qd up` prints one" if problem.status == HTTPStatus.UNAUTHORIZED else ""
        return None, Finding(Verdict.BROKEN, "token", problem.message, remedy)
    except ServerUnreachable as error:
        return None, Finding(Verdict.BROKEN, "token", error.message)
    return agents, Finding(Verdict.OK, "token", "accepted")


def _links(agents: list[Agent]) -> Finding:
    offline = [agent.agent_id for agent in agents if not agent.connected]
    if not agents:
        return Finding(
            Verdict.WARNING,
            "agents",
            "none enrolled",
            "`qd token join`, then `qd agent --server … --join-token …`",
        )
    if offline:
        return Finding(
            Verdict.WARNING,
            "agents",
            f"{len(offline)} of {len(agents)} offline: {fold(offline)}",
            "look at the agent's log there; `qd run --queue-for 1h` waits for it",
        )
    return Finding(Verdict.OK, "agents", f"{len(agents)} connected")


def _versions(agents: list[Agent], own_version: str) -> Finding:
    others = [agent.agent_id for agent in agents if agent.version and agent.version != own_version]
    if not others:
        return Finding(Verdict.OK, "versions", own_version)
    return Finding(
        Verdict.WARNING, "versions", f"other than {own_version}: {fold(others)}", "bring them to one version"
    )
