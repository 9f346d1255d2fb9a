"""Requests and answers: one HTTP connection pool, bearer token, typed errors, careful retries.

Owns the transport. What can be asked is in api.py, event streams in feed.py. A request is sent again only when that
cannot do it twice: reads, and writes that carry an idempotency key or are idempotent by themselves.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from quarterdeck.cli.client.retrying import REQUESTS, RETRYABLE_STATUS, RetryPolicy, retry_after_s
from quarterdeck.cli.errors import ApiProblem, ServerUnreachable

T = TypeVar("T")

_CONNECT_TIMEOUT_S: Final = 3.0
_READ_TIMEOUT_S: Final = 30.0


class Rest:
    """Async context manager around one server. `base_url`: such as http://127.0.0.1:8080."""

    def __init__(self, base_url: str, token: str | None, policy: RetryPolicy = REQUESTS) -> None:
        headers = {"Accept": "application/json", "User-Agent": "quarterdeck-cli"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.base_url = base_url.rstrip("/")
        self.random = random.Random()
        self._policy = policy
        self.http = httpx.AsyncClient(
            base_url=self.base_url,
            headers=headers,
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
            # Proxies of the environment are for the internet; a deck on 127.0.0.1 is reached directly.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def get(self, path: str, kind: type[T], params: Mapping[str, Any] | None = None) -> T:
        """A read, retried. Raises ApiProblem, ServerUnreachable."""
        return decode(await self.send("GET", path, params=params, again=True), kind)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool,
    ) -> httpx.Response:
        """One exchange, the whole answer in memory. `again`: repeating it is harmless.

        Raises ApiProblem, ServerUnreachable.
        """
        content = None if body is None else msgspec.json.encode(body)
        all_headers = dict(headers or {})
        if content is not None:
            all_headers["Content-Type"] = "application/json"
        started_s, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            delay_s = self._policy.delay_s(attempt, self.random)
            waited_s = time.monotonic() + delay_s - started_s
            try:
                response = await self.http.request(
                    method, path, content=content, params=params, headers=all_headers
                )
            except httpx.TransportError as error:
                unsent = isinstance(error, httpx.ConnectError)
                if waited_s > self._patience_s(unsent=unsent, again=again):
                    raise ServerUnreachable(self.base_url, cause(error)) from error
            else:
                if response.is_success:
                    return response
                if response.status_code not in RETRYABLE_STATUS or waited_s > self._patience_s(again=again):
                    raise problem(response)
                delay_s = retry_after_s(response) or delay_s
            await asyncio.sleep(delay_s)

    def _patience_s(self, *, again: bool, unsent: bool = False) -> float:
        """How long to go on trying. What was never sent may always be tried again, while somebody watches."""
        if unsent:
            return self._policy.connect_for_s
        return self._policy.give_up_after_s if again else 0.0


def decode(response: httpx.Response, kind: type[T]) -> T:
    """The body as `kind`. Raises ApiProblem when the server speaks another language."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise ApiProblem(
            response.status_code, {"code": "unexpected_answer", "detail": f"unexpected answer: {error}"}
        ) from error


def problem(response: httpx.Response) -> ApiProblem:
    """The typed error in `response`, whose body was read; a proxy's page counts as an error without members."""
    try:
        members = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        members = {"title": response.reason_phrase}
    return ApiProblem(response.status_code, members)


def cause(error: Exception) -> str:
    """What the network said, in a few words."""
    return str(error) or type(error).__name__
