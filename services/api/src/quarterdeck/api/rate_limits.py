"""How often a principal may ask, and an agent may be given a command, over all replicas (S0-30).

Sliding windows in Redis, which all replicas share; the counting is the library `limits`. A limit that is not set costs
nothing. `Throttle` is the ASGI layer for principals; intake.py asks for agents.
"""

import math
import time
from typing import Final

from limits import RateLimitItem, parse
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from quarterdeck.api.errors import RateLimited
from quarterdeck.api.problems import api_problem
from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.core.settings import SettingsError
from quarterdeck.core.store import Store
from quarterdeck.core.store.rate_windows import RateWindows
from quarterdeck.web.gate import send_problem
from quarterdeck.web.tokens import Principal

_READING: Final = frozenset({"GET", "HEAD"})


class RateLimits:
    """Rates as `limits` writes them: `600/minute`, `50 per 10 second`; empty for none. Raises SettingsError."""

    def __init__(self, store: Store, *, reads: str = "", writes: str = "", commands: str = "") -> None:
        self._limiter = SlidingWindowCounterRateLimiter(RateWindows(store.runner))
        self._reads = _parse("QD_API_READ_RATE", reads)
        self._writes = _parse("QD_API_WRITE_RATE", writes)
        self._commands = _parse("QD_API_CLIENT_RATE", commands)

    @property
    def of_principals(self) -> bool:
        """Whether any request is counted by who makes it."""
        return self._reads is not None or self._writes is not None

    async def request(self, principal: Principal, method: str) -> None:
        """Counts a request. Raises RateLimited, Unavailable."""
        if method in _READING:
            await self._take("reads", self._reads, principal.tenant, principal.name)
        else:
            await self._take("writes", self._writes, principal.tenant, principal.name)

    async def command(self, tenant: str, agent_id: str) -> None:
        """Counts a single command for an agent. Raises RateLimited, Unavailable."""
        await self._take("client", self._commands, tenant, agent_id)

    async def _take(self, policy: str, rate: RateLimitItem | None, tenant: str, name: str) -> None:
        if rate is None or await self._limiter.hit(rate, policy, tenant, name):
            return
        stats = await self._limiter.get_window_stats(rate, policy, tenant, name)
        raise RateLimited(
            policy,
            quota=rate.amount,
            window_s=rate.get_expiry(),
            retry_after_s=max(1, math.ceil(stats.reset_time - time.time())),
        )


class Throttle:
    """ASGI layer behind the gate: refuses the requests of a principal that come too often."""

    def __init__(self, application: ASGIApp, limits: RateLimits) -> None:
        self._application = application
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = scope.get("user")
        if scope["type"] == ScopeType.HTTP and isinstance(principal, Principal):
            try:
                await self._limits.request(principal, scope["method"])
            except QuarterdeckError as error:
                return await send_problem(api_problem(error, scope["path"]), send)
        return await self._application(scope, receive, send)


def _parse(variable: str, rate: str) -> RateLimitItem | None:
    try:
        return parse(rate) if rate else None
    except ValueError as error:
        raise SettingsError(variable, f"{rate!r} is no rate; write 600/minute or 50 per 10 second") from error
