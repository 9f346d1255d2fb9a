"""Whatever is posted, asked for or sent as a header: an answer below 500, and every refusal is a problem document."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.api.settings import ApiSettings
from quarterdeck.embedded.nats_server import NatsServer
from quarterdeck.embedded.redis_server import RedisServer
from tests.effort import effort
from tests.fuzz.damage import damaged, hostile_texts
from tests.integration.api.deck import TOKEN, brokers, running_api

_header_bytes: Final = st.integers(0x20, 0xFF).filter(lambda byte: byte != 0x7F)
"""What a field value may hold (RFC 9110 §5.5); the rest never gets past the HTTP parser."""

_json: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)

BODIES: Final[dict[str, dict[str, Any]]] = {
    "/api/command": {
        "client_id": "a1",
        "command_type": "shell",
        "payload": {"command": "true"},
        "timeout": 30,
        "priority": 5,
        "retry": {"max_attempts": 2, "backoff_ms": 10},
        "env": {"A": "b"},
        "queue_for": 5,
        "depends_on": [],
    },
    "/api/command/batch": {"client_ids": ["a1"], "command_type": "shell", "payload": {}, "timeout": 30},
    "/api/batch_commands": {
        "command_content": "true",
        "target_vps_ids": ["a1"],
        "timeout": 30,
        "execution_alias": "x",
        "working_directory": "/tmp",
    },
    "/api/agents": {
        "agent_id": "q1",
        "name": "one",
        "dialect": "quicflow",
        "identity": {"client_id": "c1"},
    },
    "/api/agents/nobody/run": {"ident": "ps", "params": {"pid": "1"}, "linux_ns_pid": 1, "timeout": 1},
    "/api/tokens": {"principal": "bob", "expires_in": 60},
    "/api/tokens/join": {"uses": 1, "expires_in": 60, "labels": {"a": "b"}},
    "/api/tickets": {},
    "/api/command/01a1fd08-9b86-704f-9624-a7ae3da839d1/terminate": {},
    "/api/batch_commands/01a1fd08-9b86-704f-9624-a7ae3da839d1/terminate": {},
}


def _wrong(body: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Anything, or `body` with some members replaced by anything, left out, or one too many."""
    names = st.sampled_from([*body, "surplus"])
    return _json | st.tuples(st.dictionaries(names, _json, max_size=3), st.sets(names, max_size=2)).map(
        lambda change: {k: v for k, v in {**body, **change[0]}.items() if k not in change[1]}
    )


class Asker:
    """A client of a running api, from synchronous code."""

    def __init__(self, loop: asyncio.AbstractEventLoop, http: httpx.AsyncClient) -> None:
        self._loop = loop
        self._http = http

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._loop.run_until_complete(self._http.request(method, path, **more))


@pytest.fixture(scope="module")
def ask(
    session_nats_server: NatsServer,
    session_redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Asker]:
    """An api of the module, with one agent."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    port_file: Path = tmp_path_factory.mktemp("fuzz") / "api.port"

    async def start() -> httpx.AsyncClient:
        deck = await stack.enter_async_context(brokers(session_nats_server.url, session_redis_server.url))
        await deck.agent("a1")
        return await stack.enter_async_context(running_api(deck, ApiSettings(port=0, port_file=port_file)))

    yield Asker(loop, loop.run_until_complete(start()))
    loop.run_until_complete(stack.aclose())
    loop.close()


def _assert_sound(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert {"type", "title", "status", "detail", "code"} <= answer.json().keys()


@pytest.mark.parametrize("path", BODIES)
def test_any_json_is_taken_or_refused(path: str, ask: Asker) -> None:
    """S0-28"""

    @effort(10)
    @given(_wrong(BODIES[path]))
    def holds(body: Any) -> None:
        _assert_sound(ask("POST", path, json=body))

    holds()


@pytest.mark.parametrize("path", ["/api/command", "/api/batch_commands", "/api/tokens/join"])
def test_bytes_that_are_no_json_are_refused(path: str, ask: Asker) -> None:
    """S0-28"""
    whole = httpx.Request("POST", "http://x", json=BODIES[path]).content

    @effort(10)
    @given(damaged([whole]))
    def holds(raw: bytes) -> None:
        _assert_sound(ask("POST", path, content=raw, headers={"content-type": "application/json"}))

    holds()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/api/commands", ("client_id", "status", "limit", "cursor", "surplus")),
        ("/api/batch_commands", ("limit", "cursor", "surplus")),
        ("/api/agents", ("connected", "limit", "cursor", "surplus")),
        ("/api/command/01a1fd08-9b86-704f-9624-a7ae3da839d1", ("wait",)),
        (
            "/api/command/01a1fd08-9b86-704f-9624-a7ae3da839d1/output",
            ("stream", "attempt", "offset", "limit"),
        ),
    ],
)
def test_any_query_is_taken_or_refused(path: str, names: tuple[str, ...], ask: Asker) -> None:
    """S0-28"""
    values = hostile_texts("10", "a1", "pending", "true", "1e9", "0.01")

    @effort(10)
    @given(st.dictionaries(st.sampled_from(names), values, max_size=3))
    def holds(query: dict[str, str]) -> None:
        _assert_sound(ask("GET", path, params=query))

    holds()


@effort(10)
@given(
    name=hostile_texts("a1"),
    place=st.sampled_from(["/api/command/{}", "/api/batch_commands/{}/", "/api/agents/{}"]),
)
def _any_name(ask: Asker, name: str, place: str) -> None:
    _assert_sound(ask("GET", place.format(httpx.QueryParams({"x": name}).__str__()[2:].replace("+", "%20"))))


def test_any_name_in_a_path_is_found_or_refused(ask: Asker) -> None:
    """S0-28"""
    _any_name(ask)


@pytest.mark.parametrize("header", ["Idempotency-Key", "Authorization", "traceparent", "Content-Type"])
def test_any_header_is_taken_or_refused(header: str, ask: Asker) -> None:
    """S0-27, S0-28"""
    values = st.lists(_header_bytes, max_size=60).map(bytes)

    @effort(10)
    @given(values.map(bytes.strip) | st.just(f"Bearer {TOKEN}".encode()))
    def holds(value: bytes) -> None:
        body = httpx.Request("POST", "http://x", json=BODIES["/api/command"]).content
        headers = {b"content-type": b"application/json", header.lower().encode(): value}
        _assert_sound(ask("POST", "/api/command", content=body, headers=headers))

    holds()
