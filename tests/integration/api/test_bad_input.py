"""Every bad request gives its typed error with the field named, status 4xx, and leaves nothing behind."""

import asyncio
from typing import Any

import httpx
import msgspec

from quarterdeck.contracts.limits import MAX_BATCH_TARGETS, MAX_BODY_BYTES, MAX_PAYLOAD_BYTES, MAX_TIMEOUT_MS
from tests.integration.api.deck import TOKEN, Deck

COMMAND: dict[str, Any] = {"client_id": "a1", "command_type": "restart", "payload": {}, "timeout": 30}
BATCH: dict[str, Any] = {"command_content": "true", "target_vps_ids": ["a1"]}
UNSAFE = ["*", ">", "a.b", "a\r\nb", "{x}", "a b", "", "ä", "a" * 65, "a/", "/a", "a/b/c", "a/*", "a\n"]


async def assert_nothing_happened(deck: Deck) -> None:
    assert await deck.queued() == []
    assert (await deck.http.get("/api/commands")).json()["total"] == 0
    assert (await deck.http.get("/api/batch_commands")).json()["total"] == 0


async def assert_refused(
    deck: Deck, answer: httpx.Response, status: int, code: str, field: str | None
) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body.get("field")) == (code, field), body
    assert {"type", "title", "status", "detail"} <= set(body)
    await assert_nothing_happened(deck)


async def test_ids_outside_the_pattern(deck: Deck) -> None:
    """S0-28"""
    for unsafe in UNSAFE:
        answer = await deck.http.post("/api/command", json={**COMMAND, "client_id": unsafe})
        await assert_refused(deck, answer, 422, "invalid_target", "client_id")
        ask = {**BATCH, "target_vps_ids": ["a1", unsafe]}
        answer = await deck.http.post("/api/batch_commands", json=ask)
        await assert_refused(deck, answer, 422, "invalid_target", "target_vps_ids[1]")


OPTIONS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"timeout": 0}, 422, "invalid_timeout", "timeout"),
    ({"timeout": -1}, 422, "invalid_timeout", "timeout"),
    ({"timeout": MAX_TIMEOUT_MS // 1000 + 1}, 422, "invalid_timeout", "timeout"),
    ({"timeout": 10**30}, 422, "invalid_timeout", "timeout"),
    ({"timeout": "30"}, 422, "invalid_input", "timeout"),
    ({"timeout": True}, 422, "invalid_input", "timeout"),
    ({"queue_for": 0}, 422, "invalid_timeout", "queue_for"),
    ({"no_output_timeout": -5}, 422, "invalid_timeout", "no_output_timeout"),
    ({"grace": -1}, 422, "invalid_timeout", "grace"),
    ({"priority": 0}, 422, "invalid_input", "priority"),
    ({"priority": 11}, 422, "invalid_input", "priority"),
    ({"retry": {"max_attempts": 0}}, 422, "invalid_input", "retry.max_attempts"),
    ({"retry": {"backoff_ms": -1}}, 422, "invalid_input", "retry.backoff_ms"),
    ({"retry": {"max_attempts": "2"}}, 422, "invalid_input", "retry.max_attempts"),
    ({"retry": {"often": 2}}, 422, "invalid_input", "retry.often"),
    ({"working_directory": ""}, 422, "invalid_input", "working_directory"),
    ({"working_directory": "/a\0b"}, 422, "invalid_input", "working_directory"),
    ({"env": {"A=B": "c"}}, 422, "invalid_input", "env"),
    ({"env": {"A": "b\0"}}, 422, "invalid_input", "env"),
    ({"env": {"A": 1}}, 422, "invalid_input", "env[...]"),
    ({"depends_on": ["x"]}, 422, "invalid_id", "depends_on[0]"),
    ({"timeout": "eternal"}, 422, "invalid_input", "timeout"),
    ({"selector": "role=web"}, 422, "unsupported_value", "selector"),
    ({"timeuot": 30}, 422, "invalid_input", "timeuot"),
]


async def test_options_out_of_range(deck: Deck) -> None:
    """S0-28"""
    await deck.agent("a1")
    for changes, status, code, field in OPTIONS:
        for path, ask in (("/api/command", COMMAND), ("/api/batch_commands", BATCH)):
            answer = await deck.http.post(path, json={**ask, **changes})
            await assert_refused(deck, answer, status, code, field)


PAYLOADS: list[tuple[dict[str, Any], str, str]] = [
    ({"command_type": ""}, "invalid_input", "command_type"),
    ({"command_type": "rm -rf"}, "invalid_input", "command_type"),
    ({"command_type": None}, "invalid_input", "command_type"),
    ({"command_type": "shell", "payload": {}}, "invalid_input", "payload"),
    ({"command_type": "shell", "payload": {"command": ""}}, "invalid_input", "payload.command"),
    ({"command_type": "shell", "payload": {"command": 7}}, "invalid_input", "payload"),
    ({"command_type": "shell", "payload": {"command": "a", "script": "b"}}, "invalid_input", "payload"),
    ({"command_type": "exec", "payload": {"argv": []}}, "invalid_input", "payload.argv"),
    ({"command_type": "exec", "payload": {"argv": ["a\0"]}}, "invalid_input", "payload.argv"),
    ({"command_type": "exec", "payload": "id"}, "invalid_input", "payload"),
]


async def test_payloads_that_do_not_fit_their_type(deck: Deck) -> None:
    """S0-28, S0-21"""
    await deck.agent("a1")
    for changes, code, field in PAYLOADS:
        answer = await deck.http.post("/api/command", json={**COMMAND, **changes})
        await assert_refused(deck, answer, 422, code, field)
        assert answer.json()["success"] is False
        assert answer.json()["error"]


UNREADABLE = ["1e999", '{"a": [1e999]}', "7" * 5000, "[" * 990 + "]" * 990]


async def test_payloads_that_nobody_could_read(deck: Deck) -> None:
    """S0-28, I6: with an idempotency key and without; the answer is the caller's fault, never ours."""
    await deck.agent("a1")
    await deck.http.put("/api/policy", json={"cached": {"restart": 60}})
    for number, payload in enumerate(UNREADABLE):
        one = f'{{"client_id": "a1", "command_type": "restart", "payload": {payload}}}'
        many = f'{{"client_ids": ["a1"], "command_type": "restart", "payload": {payload}}}'
        for path, body in (("/api/command", one), ("/api/command/batch", many)):
            answer = await deck.http.post(path, content=body)
            assert answer.status_code in {400, 422}, answer.text
            assert answer.json()["field"] in {"payload", "body"}
            again = await deck.http.post(path, content=body, headers={"Idempotency-Key": f"k{number}"})
            assert again.status_code in {400, 422}, again.text
    await assert_nothing_happened(deck)


BATCHES: list[tuple[dict[str, Any], str, str]] = [
    ({"command_content": None}, "exactly_one_required", "command_content"),
    ({"script_id": "s1"}, "exactly_one_required", "command_content"),
    ({"command_content": None, "script_id": "s1"}, "script_not_found", "script_id"),
    ({"command_content": ""}, "invalid_input", "command_content"),
    ({"payload": {}}, "invalid_input", "payload"),
    ({"target_vps_ids": []}, "invalid_input", "target_vps_ids"),
    ({"target_vps_ids": ["a1", "a1"]}, "invalid_input", "target_vps_ids[1]"),
    ({"target_vps_ids": ["a1/g", "a1/g"]}, "invalid_input", "target_vps_ids[1]"),
    ({"target_vps_ids": "a1"}, "invalid_input", "target_vps_ids"),
    ({"target_vps_ids": ["a1", 7]}, "invalid_input", "target_vps_ids[1]"),
    (
        {"target_vps_ids": [f"v{i}" for i in range(MAX_BATCH_TARGETS + 1)]},
        "invalid_input",
        "target_vps_ids",
    ),
    ({"execution_alias": "x" * 201}, "invalid_input", "execution_alias"),
]


async def test_batches_that_make_no_sense(deck: Deck) -> None:
    """S4-12"""
    await deck.agent("a1")
    for changes, code, field in BATCHES:
        answer = await deck.http.post("/api/batch_commands", json={**BATCH, **changes})
        await assert_refused(deck, answer, 422, code, field)
        if code == "exactly_one_required":
            assert answer.json()["fields"] == ["command_content", "script_id"]


async def test_unknown_targets_are_named(deck: Deck) -> None:
    """S4-12"""
    await deck.agent("a1")
    answer = await deck.http.post("/api/batch_commands", json={**BATCH, "target_vps_ids": ["x", "a1", "y/g"]})
    await assert_refused(deck, answer, 422, "unknown_agent", "target_vps_ids")
    assert answer.json()["unknown"] == ["x", "y/g"]
    revoked = {"revoked": True}
    await deck.agent("gone", **revoked)
    answer = await deck.http.post("/api/batch_commands", json={**BATCH, "target_vps_ids": ["gone"]})
    await assert_refused(deck, answer, 422, "unknown_agent", "target_vps_ids")


BODIES: list[tuple[bytes, int, str, str]] = [
    (b"", 400, "malformed_body", "body"),
    (b"{", 400, "malformed_body", "body"),
    (b"nonsense", 400, "malformed_body", "body"),
    (b'{"client_id": "a1", "command_type": "x", "payload": nul}', 400, "malformed_body", "body"),
    (b'{"client_id": "\xff"}', 400, "malformed_body", "body"),
    (
        b'{"client_id": "a1", "command_type": "x", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        400,
        "malformed_body",
        "body",
    ),
    (b"[]", 422, "invalid_input", "body"),
    (b"{}", 422, "invalid_input", "client_id"),
    (b'{"client_id": "a1", "command_type": "x", "payload": "\xff"}', 400, "malformed_body", "body"),
]


async def test_bodies_that_are_no_request(deck: Deck) -> None:
    """S0-28"""
    await deck.agent("a1")
    for body, status, code, field in BODIES:
        answer = await deck.http.post("/api/command", content=body)
        await assert_refused(deck, answer, status, code, field)
        headers = {"Idempotency-Key": "k"}
        answer = await deck.http.post("/api/command", content=body, headers=headers)
        await assert_refused(deck, answer, status, code, field)


async def test_payload_and_env_have_a_limit_together(deck: Deck) -> None:
    """S0-28"""
    await deck.agent("a1")
    large = {**COMMAND, "payload": "x" * MAX_PAYLOAD_BYTES}
    await assert_refused(
        deck, await deck.http.post("/api/command", json=large), 413, "payload_too_large", "payload"
    )
    env = {**COMMAND, "env": {"A": "x" * MAX_PAYLOAD_BYTES}}
    await assert_refused(
        deck, await deck.http.post("/api/command", json=env), 413, "payload_too_large", "env"
    )
    fits = {**COMMAND, "payload": "x" * (MAX_PAYLOAD_BYTES - 2)}
    assert (await deck.http.post("/api/command", json=fits)).status_code == 202


async def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(deck: Deck) -> None:
    """S0-28"""
    head = f"POST /api/command HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    announced = b"Content-Length: %d\r\n\r\n" % (100 * MAX_BODY_BYTES)
    endless = b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % (b" " * 65_536) * 40
    for rest in (announced, endless):
        url = httpx.URL(deck.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(head + rest)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"body_too_large" in await reader.read(4096)
        writer.close()
    await assert_nothing_happened(deck)


async def test_a_wrong_token_is_401_on_every_path(deck: Deck) -> None:
    """S0-27"""
    await deck.agent("a1")
    wrong = [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer " + "x" * 5000]
    async with httpx.AsyncClient(base_url=deck.url) as stranger:
        for value in wrong:
            headers = {} if value is None else {"Authorization": value}
            for method, path in (("POST", "/api/command"), ("GET", "/api/agents"), ("GET", "/nothing")):
                body = msgspec.json.encode(COMMAND)
                answer = await stranger.request(method, path, content=body, headers=headers)
                assert answer.status_code == 401
                assert answer.json()["code"] == "not_authenticated"
                assert answer.headers["www-authenticate"] == "Bearer"
        assert (await stranger.get(f"/api/agents?token={TOKEN}")).status_code == 401
        assert (await stranger.get("/health/live")).status_code == 200
    await assert_nothing_happened(deck)


PATHS: list[tuple[str, int, str, str | None]] = [
    ("/api/command/0190f0b0-0000-7000-8000-000000000000", 404, "not_found", "command_id"),
    ("/api/command/nothing", 404, "not_found", "command_id"),
    ("/api/command/a.b", 422, "invalid_id", "command_id"),
    ("/api/command/%2A", 422, "invalid_id", "command_id"),
    ("/api/command/a%0D%0Ab", 422, "invalid_id", "command_id"),
    ("/api/command/%7Bx%7D/output", 422, "invalid_id", "command_id"),
    ("/api/command/nothing/output", 404, "not_found", "command_id"),
    ("/api/batch_commands/nothing", 404, "not_found", "batch_command_id"),
    ("/api/batch_commands/%3E", 422, "invalid_id", "batch_command_id"),
    ("/api/agents/nobody", 404, "unknown_agent", "agent_id"),
    ("/api/agents/%3E", 422, "invalid_id", "agent_id"),
    ("/api/commands?status=done", 422, "invalid_input", "status"),
    ("/api/commands?client_id=*", 422, "invalid_id", "client_id"),
    ("/api/commands?limit=0", 422, "invalid_input", "limit"),
    ("/api/commands?limit=x", 422, "invalid_input", "limit"),
    ("/api/commands?colour=red", 422, "invalid_input", "colour"),
    ("/api/commands?cursor=AAAA", 400, "invalid_cursor", "cursor"),
    ("/api/batch_commands?cursor=%00", 400, "invalid_cursor", "cursor"),
    ("/api/command/nothing?wait=-1", 422, "invalid_input", "wait"),
    ("/api/command/nothing?wait=nan", 422, "invalid_input", "wait"),
    ("/api/command/nothing?wait=301", 422, "invalid_input", "wait"),
    ("/api/agents?connected=maybe", 422, "invalid_input", "connected"),
    ("/api/nothing", 404, "path_not_found", None),
]


async def test_reading_what_is_not_there(deck: Deck) -> None:
    """S0-28"""
    for path, status, code, field in PATHS:
        await assert_refused(deck, await deck.http.get(path), status, code, field)


async def test_a_method_that_a_path_does_not_take_is_405(deck: Deck) -> None:
    """S0-28"""
    await assert_refused(deck, await deck.http.put("/api/command"), 405, "method_not_allowed", None)


async def test_idempotency_keys_have_a_form(deck: Deck) -> None:
    """S3-5"""
    await deck.agent("a1")
    for key in ("", "x" * 201, "a\tb"):
        answer = await deck.http.post("/api/command", json=COMMAND, headers={"Idempotency-Key": key})
        await assert_refused(deck, answer, 422, "invalid_input", "Idempotency-Key")
