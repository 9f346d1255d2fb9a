"""The explicit table of actions, the documents, health and metrics."""

from typing import Any

import httpx
import jsonschema_rs
import msgspec
from litestar import Litestar, get

from quarterdeck.api.application import api_application
from quarterdeck.api.operations import DESCRIBED, OPERATIONS
from quarterdeck.api.service import assemble
from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts.asyncapi import event_schema
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.registry import LinkRoster
from quarterdeck.web.application import build
from quarterdeck.web.operations import PUBLIC
from quarterdeck.web.problems import problem_for_path
from tests.integration.api.deck import Deck


def served(deck: Deck) -> set[tuple[str, str]]:
    """Method and path of every route, as Litestar has them."""
    ctx = deck.contexts[0]
    parts = assemble(ctx, ApiSettings(), LinkRoster(ctx.registry, ctx.clock))
    gate: Any = api_application(parts)
    app: Litestar = gate.application
    pairs = {(method, route.path_format) for route in app.routes for method in route.methods}
    return {(str(method), path) for method, path in pairs if method != "OPTIONS"}


async def test_every_route_has_a_row_in_the_table_and_every_row_a_route(deck: Deck) -> None:
    """S0-27"""
    assert served(deck) == {(row.method, row.path) for row in OPERATIONS.rows}


async def test_only_health_and_the_consoles_own_files_are_public() -> None:
    """S0-27"""
    public = {row.path for row in OPERATIONS.rows if row.action == PUBLIC}
    assert {path for path in public if not path.startswith("/console")} == {"/health/live", "/health/ready"}


async def test_a_route_without_a_row_is_denied_to_everybody() -> None:
    """S0-27"""

    @get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    app = build([forgotten], OPERATIONS, problem_for_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:  # type: ignore[arg-type]
        answer = await client.get("/forgotten")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_authorised")


async def test_openapi_describes_every_operation(deck: Deck) -> None:
    """S0-27"""
    document = (await deck.http.get("/schema")).json()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {(row.method, row.path) for row in DESCRIBED} == described
    assert ("GET", "/api/batch_commands/{batch_command_id}/events") in described
    submit = document["paths"]["/api/command"]["post"]
    name = submit["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert document["components"]["schemas"][name]["required"] == ["client_id", "command_type"]


async def test_received_events_are_what_the_asyncapi_document_describes(deck: Deck) -> None:
    """S3-8"""
    document = (await deck.http.get("/schema/asyncapi.json")).json()
    assert document["asyncapi"] == "3.0.0"
    await deck.agent("a1", "a2")
    ask = {
        "client_id": "a1",
        "command_type": "shell",
        "payload": {"command": "x"},
        "timeout": 9,
        "env": {"A": "b"},
    }
    command_id = (await deck.http.post("/api/command", json=ask)).json()["command_id"]
    await deck.move(command_id, S.SENT, sent_at_ms=1, gateway_id="gw1", via="grpc")
    await deck.move(command_id, S.ACCEPTED, accepted_at_ms=2)
    await deck.move(command_id, S.EXECUTING, started_at_ms=3)
    await deck.move(command_id, S.FAILED, exit_code=3, error="e", completed_at_ms=4, stdout_tail=b"t")
    batch = {"command_content": "x", "target_vps_ids": ["a1", "a2"], "execution_alias": "n"}
    batch_id = (await deck.http.post("/api/batch_commands", json=batch)).json()["batch_command_id"]
    await deck.expand(batch_id)
    await deck.http.post(f"/api/batch_commands/{batch_id}/terminate")
    seen = set()
    for message in await deck.stored(FEED):
        event = msgspec.json.decode(message.body)
        validator = jsonschema_rs.validator_for(event_schema(document, event["type"]))
        validator.validate(event)
        assert event["type"] in document["channels"]
        seen.add(event["type"])
    assert {
        "command.accepted",
        "command.sent",
        "command.completed",
        "batch.created",
        "batch.terminating",
    } <= seen


async def test_health_needs_no_token_and_metrics_do(deck: Deck) -> None:
    """S0-22"""
    async with httpx.AsyncClient(base_url=deck.url) as stranger:
        assert (await stranger.get("/health/ready")).json()["ready"] is True
        assert (await stranger.get("/metrics")).status_code == 401
    text = (await deck.http.get("/metrics")).text
    for name in ("command_sent_total", "command_duration_seconds", "http_requests_total"):
        assert f"# HELP {name.removesuffix('_total')}" in text
