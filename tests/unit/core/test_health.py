"""Health, and the little server that shows it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.runtime.health import Health
from quarterdeck.core.runtime.http import HealthServer


@pytest.fixture
def health() -> Health:
    return Health("dispatcher")


@pytest.fixture
async def server(health: Health, tmp_path: Path) -> AsyncIterator[HealthServer]:
    server = HealthServer(health)
    await server.start("127.0.0.1", 0, tmp_path / "port")
    yield server
    await server.close()


async def ask(server: HealthServer, request: bytes) -> tuple[str, bytes]:
    """The status line and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body


async def get(server: HealthServer, path: str) -> tuple[str, bytes]:
    return await ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_service_is_ready_between_its_word_and_the_signal_to_stop(
    health: Health, server: HealthServer
) -> None:
    status, body = await get(server, "/health/ready")
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert json.loads(body) == {"service": "dispatcher", "ready": False, "problems": {"service": "starting"}}

    health.mark_ready()
    assert await get(server, "/health/ready") == (
        "HTTP/1.1 200 OK",
        b'{"service":"dispatcher","ready":true,"problems":{}}',
    )

    health.mark_stopping()
    assert (await get(server, "/health/ready"))[0] == "HTTP/1.1 503 Service Unavailable"
    assert (await get(server, "/health/live"))[0] == "HTTP/1.1 200 OK"


def test_failing_check_makes_unready_and_says_why(health: Health) -> None:
    trouble = "connection refused"
    health.mark_ready()
    health.add_check("nats", lambda: trouble)
    health.add_check("redis", lambda: "")

    assert health.snapshot().problems == {"nats": "connection refused"}
    trouble = ""
    assert health.snapshot().ready


async def test_metrics_are_prometheus_text(server: HealthServer) -> None:
    """S0-22, S1-22: the names that dashboards look for."""
    status, body = await get(server, "/metrics")

    assert status == "HTTP/1.1 200 OK"
    for name in (
        "command_sent_total",
        "command_completed_total",
        "command_failed_total",
        "command_timeout_total",
        "command_duration_seconds",
        "links_connected",
        "link_age_seconds",
        "link_response_seconds",
        "heartbeats_total",
        "link_timeouts_total",
    ):
        assert f"# HELP {name} ".encode() in body


async def test_bound_port_is_written_down(server: HealthServer, tmp_path: Path) -> None:
    assert int((tmp_path / "port").read_text()) == server.port


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /elsewhere HTTP/1.1", "404 Not Found"),
        (b"POST /health/live HTTP/1.1", "405 Method Not Allowed"),
        (b"GET /health/live?x=1 HTTP/1.1", "200 OK"),
    ],
)
async def test_other_requests_are_answered(server: HealthServer, request_line: bytes, status: str) -> None:
    assert (await ask(server, request_line + b"\r\n\r\n"))[0] == f"HTTP/1.1 {status}"


@pytest.mark.parametrize(
    "garbage", [b"\r\n\r\n", b"NONSENSE\r\n\r\n", b"GET /" + b"x" * 20_000 + b"\r\n\r\n"]
)
async def test_what_is_no_request_is_hung_up_on(server: HealthServer, garbage: bytes) -> None:
    try:
        answer = await ask(server, garbage)
    except ConnectionError:  # reset, because more came than was read
        return
    assert answer == ("", b"")


async def test_head_has_no_body(server: HealthServer) -> None:
    assert await ask(server, b"HEAD /health/live HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", b"")
