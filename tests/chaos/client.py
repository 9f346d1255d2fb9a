"""A client that never gives up and never orders twice: every POST carries a key and is repeated until it is answered.

Owns the retries and the log of what was answered. What to order is load.py's.
"""

import asyncio
import time
from typing import Any, Final

import httpx
import msgspec

from quarterdeck.testing.checker import Ordered
from quarterdeck.testing.oracle import Script
from tests.e2e.system import System

_AGAIN_AFTER_S: Final = 0.3
_TIMEOUT_S: Final = 8.0
_UNREACHABLE: Final = 409
"""Taken in and recorded as unreachable at once; the body has the id."""
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})


class Unanswerable(Exception):
    """An answer that no repetition can change, to a request that should have been fine."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")


class Order(msgspec.Struct, kw_only=True):
    """One request and what became of it."""

    key: str
    path: str
    body: dict[str, Any]
    script: Script
    targets: list[str]
    max_attempts: int = 1
    answered_ids: set[str] = msgspec.field(default_factory=set)
    posts: int = 0
    cancel_asked: bool = False
    unstarted_since_ms: dict[str, int] = msgspec.field(default_factory=dict)
    """Per command: when a cancel was answered with `terminated`."""

    @property
    def is_batch(self) -> bool:
        return "batch" in self.path

    @property
    def answered_id(self) -> str | None:
        return min(self.answered_ids, default=None)

    def as_evidence(self) -> Ordered:
        return Ordered(
            key=self.key,
            targets=len(self.targets),
            answered_ids=frozenset(self.answered_ids),
            is_batch=self.is_batch,
            posts=self.posts,
        )


class Client:
    """`refusals`: answers that nobody can explain; a run with any of them is no good run."""

    def __init__(self, system: System) -> None:
        self._system = system
        ready = system.ready
        self.http = httpx.AsyncClient(
            base_url=ready["api"],
            headers={"Authorization": f"Bearer {ready['token']}"},
            timeout=_TIMEOUT_S,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )
        self.refusals: list[str] = []
        self.transient_failures: dict[str, int] = {}

    async def post(self, order: Order) -> None:
        """Until it is answered."""
        while True:
            order.posts += 1
            answer = await self._try("POST", order.path, order.body, key=order.key)
            if answer is not None and answer.status_code in {202, _UNREACHABLE}:
                body = answer.json()
                order.answered_ids.add(body["batch_command_id" if order.is_batch else "command_id"])
                return
            if answer is not None and answer.status_code not in _TRANSIENT:
                self.refusals.append(str(Unanswerable(answer)))
                return
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def cancel(self, order: Order) -> None:
        """Asks until it is answered; notes what the answer proves."""
        order.cancel_asked = True
        answered_id = order.answered_id
        root = "/api/batch_commands" if order.is_batch else "/api/command"
        while answered_id is not None:
            answer = await self._try("POST", f"{root}/{answered_id}/terminate")
            if answer is not None and answer.status_code == 202:
                if answer.json()["message"] == "Terminated before it started":
                    order.unstarted_since_ms[answered_id] = time.time_ns() // 1_000_000
                return
            if answer is not None and answer.status_code not in _TRANSIENT:
                self.refusals.append(str(Unanswerable(answer)))
                return
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def get(self, path: str, **params: Any) -> httpx.Response:
        """Until there is an answer that is not about the moment. Its status may be 404."""
        while True:
            answer = await self._try("GET", path, params=params)
            if answer is not None and answer.status_code not in _TRANSIENT:
                return answer
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _try(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        params: dict[str, Any] | None = None,
    ) -> httpx.Response | None:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            answer = await self.http.request(method, path, json=body, headers=headers, params=params)
        except httpx.HTTPError as error:  # refused, reset, timed out: whether it arrived is unknown
            self._count(type(error).__name__)
            return None
        if answer.status_code in _TRANSIENT:
            self._count(str(answer.status_code))
        return answer

    def _count(self, failure: str) -> None:
        self.transient_failures[failure] = self.transient_failures.get(failure, 0) + 1
