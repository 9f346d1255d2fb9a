"""Bad input: a typed error that names the field, a 4xx, and nothing left behind."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

BATCH: dict[str, Any] = {"command_content": "true", "target_vps_ids": ["agent-1"]}
COMMAND: dict[str, Any] = {
    "client_id": "agent-1",
    "command_type": "shell",
    "payload": {"command": "true"},
    "timeout": 5,
}
HOSTILE_IDS = ["*", ">", "a.b", "a\r\nb", "{x}", "", "a" * 65, "a/b/c"]

BATCHES: list[tuple[str, dict[str, Any], int, str, str]] = [
    # what, change, status, code, field
    ("both contents", {"script_id": "s1"}, 422, "exactly_one_required", "command_content"),
    ("neither content", {"command_content": None}, 422, "exactly_one_required", "command_content"),
    (
        "a script nobody stored",
        {"command_content": None, "script_id": "s1"},
        422,
        "script_not_found",
        "script_id",
    ),
    ("no targets", {"target_vps_ids": []}, 422, "invalid_input", "target_vps_ids"),
    ("duplicate targets", {"target_vps_ids": ["agent-1", "agent-1"]}, 422, "invalid_input", "target_vps_ids"),
    ("an unknown agent", {"target_vps_ids": ["nobody"]}, 422, "unknown_agent", "target_vps_ids"),
    ("timeout zero", {"timeout": 0}, 422, "invalid_timeout", "timeout"),
    ("timeout negative", {"timeout": -1}, 422, "invalid_timeout", "timeout"),
    ("timeout absurd", {"timeout": 10**9}, 422, "invalid_timeout", "timeout"),
    (
        "too large a payload",
        {"command_content": "x" * (256 * 1024 + 1)},
        413,
        "payload_too_large",
        "command_content",
    ),
]


async def _totals(system: System) -> tuple[int, int]:
    commands = (await system.get("/api/commands", limit=1))["total"]
    batches = (await system.get("/api/batch_commands", limit=1))["total"]
    return commands, batches


def _assert_problem(answer: Any, status: int, code: str, field: str) -> None:
    problem = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert problem["code"] == code
    assert field in problem["field"], problem


@pytest.mark.parametrize(
    ("what", "change", "status", "code", "field"), BATCHES, ids=[case[0] for case in BATCHES]
)
async def test_a_bad_batch_is_refused_and_leaves_nothing(
    system: System, what: str, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    """S0-28, S4-1, S4-12"""
    before = await _totals(system)
    body = {name: value for name, value in {**BATCH, **change}.items() if value is not None}

    answer = await system.client.post("/api/batch_commands", json=body)

    _assert_problem(answer, status, code, field)
    assert await _totals(system) == before


@pytest.mark.parametrize("target", HOSTILE_IDS)
async def test_a_target_outside_the_id_pattern_is_refused(system: System, target: str) -> None:
    """S0-28, S4-12: wildcards, dots, line breaks and braces never get near a subject or a key."""
    before = await _totals(system)

    batch = await system.client.post("/api/batch_commands", json={**BATCH, "target_vps_ids": [target]})
    command = await system.client.post("/api/command", json={**COMMAND, "client_id": target})

    _assert_problem(batch, 422, "invalid_target", "target_vps_ids")
    _assert_problem(command, 422, "invalid_target", "client_id")
    assert command.json()["success"] is False
    assert await _totals(system) == before


async def test_an_unknown_client_is_named(system: System) -> None:
    """S0-18, S0-28"""
    before = await _totals(system)

    answer = await system.client.post("/api/command", json={**COMMAND, "client_id": "nobody"})

    _assert_problem(answer, 404, "unknown_agent", "client_id")
    assert (answer.json()["success"], answer.json()["error"]) == (False, "client not connected: nobody")
    assert await _totals(system) == before


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"client_id": 7}', b"nul"])
async def test_wrong_json_is_refused(system: System, raw: bytes) -> None:
    """S0-28"""
    headers = {"Content-Type": "application/json"}
    for path in ("/api/command", "/api/command/batch", "/api/batch_commands"):
        answer = await system.client.post(path, content=raw, headers=headers)

        assert 400 <= answer.status_code < 500, (path, raw, answer.text)
        assert answer.json()["code"]


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic YTpi", "garbage"])
async def test_without_a_valid_token_nothing_is_told(system: System, authorization: str | None) -> None:
    """S0-27"""
    headers = {"Authorization": authorization} if authorization is not None else {"Authorization": ""}
    for path in ("/api/commands", "/api/agents", "/api/batch_commands", "/api/events"):
        answer = await system.client.get(path, headers=headers)

        assert answer.status_code == 401
        assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("identifier", ["550e8400-e29b-41d4-a716-446655440000", "nonsense", "a.b", "%2A"])
async def test_unknown_ids_are_not_found(system: System, identifier: str) -> None:
    """S4-28"""
    for path in (f"/api/command/{identifier}", f"/api/batch_commands/{identifier}"):
        answer = await system.client.get(path)
        assert answer.status_code in {404, 422}, answer.text
        assert answer.json()["code"] in {"not_found", "invalid_id"}
        stop = await system.client.post(f"{path}/terminate")
        assert stop.status_code in {404, 422}, stop.text


async def test_a_cursor_of_another_query_is_refused(system: System) -> None:
    for _ in range(3):
        await system.ended(await system.command(system.agents[0], "shell", {"command": "true"}))
    page = await system.get("/api/commands", client_id=system.agents[0], limit=1)

    answer = await system.client.get("/api/commands", params={"limit": 1, "cursor": page["next_cursor"]})
    garbage = await system.client.get("/api/commands", params={"limit": 1, "cursor": "garbage"})

    _assert_problem(answer, 400, "invalid_cursor", "cursor")
    _assert_problem(garbage, 400, "invalid_cursor", "cursor")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(
    system: System, declared: bool
) -> None:
    """S0-28: by Content-Length before the first byte, and within a chunked body that never says how long it is."""
    url = urlsplit(system.ready["api"])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    framing = f"Content-Length: {10**12}" if declared else "Transfer-Encoding: chunked"
    writer.write(
        f"POST /api/batch_commands HTTP/1.1\r\nHost: x\r\n{framing}\r\n"
        f"Authorization: Bearer {system.ready['token']}\r\n\r\n".encode()
    )
    if not declared:
        for _ in range(48):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    async with asyncio.timeout(20):
        status = await reader.readline()
    writer.close()

    assert status.startswith(b"HTTP/1.1 413 ")


async def test_one_key_and_one_body_are_one_command(system: System) -> None:
    """I6: same key and body, same id; other body, 422."""
    headers = {"Idempotency-Key": "once-only"}
    body = {**COMMAND, "client_id": system.agents[0]}

    first = await system.client.post("/api/command", json=body, headers=headers)
    second = await system.client.post("/api/command", json=body, headers=headers)
    other = await system.client.post("/api/command", json={**body, "timeout": 6}, headers=headers)

    assert first.json()["command_id"] == second.json()["command_id"]
    _assert_problem(other, 422, "idempotency_conflict", "Idempotency-Key")
