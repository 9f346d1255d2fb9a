"""Calls to JetStream's API: one request, one JSON answer, errors as types.

Owns nothing but the envelope. Subjects and bodies: nats-server ADR-1 (API), docs "JetStream wire API".
"""

import asyncio
from typing import Any, Final

import msgspec

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.api_errors import ErrorBody, error_of, is_transient
from quarterdeck.core.bus.errors import NoResponder, RequestTimeout
from quarterdeck.core.bus.requests import ConnectionLost, Requests

PREFIX: Final = "$JS.API."
_TRY_TIMEOUT_S: Final = 2.0
_PAUSE_S: Final = 0.1


class _Envelope(msgspec.Struct):
    error: ErrorBody | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


class Api:
    """JetStream's API over one connection."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def call(self, name: str, body: dict[str, Any] | None = None, timeout_s: float = 5.0) -> Any:
        """Call `name` (such as `STREAM.INFO.QD_FEED`), again while JetStream is not there, for `timeout_s`.

        Only for calls that may be repeated; all that we use may. Raises Unavailable, StreamNotFound, ConsumerNotFound,
        ApiError. Returns the decoded JSON object.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        payload = b"" if body is None else msgspec.json.encode(body)
        reason = "no answer"
        while (left_s := deadline_s - loop.time()) > 0:
            try:
                answer = await self._requests.ask(PREFIX + name, payload, None, min(left_s, _TRY_TIMEOUT_S))
            except (NoResponder, RequestTimeout, ConnectionLost) as error:
                reason = error.message
            else:
                failure = _decode_envelope(answer.body).error
                if failure is None:
                    return msgspec.json.decode(answer.body)
                if not is_transient(failure):
                    raise error_of(name, failure)
                reason = failure.description
            await asyncio.sleep(_PAUSE_S)
        raise Unavailable(f"JetStream: {name}: {reason}")
