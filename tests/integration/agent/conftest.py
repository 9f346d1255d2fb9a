"""Stub gateways of both carriers behind real TLS, and agents that link to them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.runner import run_agent
from quarterdeck.agent.settings import AgentSettings, Role
from quarterdeck.wire.join_token import JoinToken
from quarterdeck.wire.pki import CertificateAuthority
from tests.integration.agent.stub_gateway import GrpcStub, QuicStub, StubGateway

StartAgent = Callable[..., Awaitable[asyncio.Task[None]]]


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create()


@pytest.fixture
def join_token(authority: CertificateAuthority) -> JoinToken:
    return JoinToken.create(authority.certificate_der)


@pytest.fixture
async def grpc_gateway(authority: CertificateAuthority) -> AsyncIterator[GrpcStub]:
    gateway = GrpcStub()
    await gateway.start(authority)
    yield gateway
    await gateway.stop()


@pytest.fixture
async def quic_gateway(authority: CertificateAuthority, tmp_path: Path) -> AsyncIterator[QuicStub]:
    gateway = QuicStub()
    await gateway.start(authority, tmp_path)
    yield gateway
    await gateway.stop()


@pytest.fixture(params=["grpc_gateway", "quic_gateway"])
def gateway(request: pytest.FixtureRequest) -> StubGateway:
    """Each test that takes it runs once per carrier."""
    stub: StubGateway = request.getfixturevalue(request.param)
    return stub


@pytest.fixture(params=[Role.AGENT, Role.SINGLE], ids=["two_processes", "one_process"])
def role(request: pytest.FixtureRequest) -> Role:
    """Each test that starts agents runs once per shape."""
    shape: Role = request.param
    return shape


@pytest.fixture
async def start_agent(tmp_path: Path, join_token: JoinToken, role: Role) -> AsyncIterator[StartAgent]:
    """Starts agents (keyword arguments: AgentSettings), and stops them in the end."""
    running: list[tuple[asyncio.Task[None], asyncio.Event]] = []

    async def start(
        *gateways: StubGateway, handlers: Handlers | None = None, **settings: Any
    ) -> asyncio.Task[None]:
        options: dict[str, Any] = {
            "servers": tuple(gateway.address for gateway in gateways),
            "data_dir": tmp_path / "agent",
            "agent_id": "web-1",
            "join_token": str(join_token),
            "environment": {"PATH": "/usr/bin:/bin"},
            "stop_grace_s": 0.5,
            "role": role,
            **settings,
        }
        stopping = asyncio.Event()
        task = asyncio.create_task(run_agent(AgentSettings(**options), handlers, stopping))
        task.stopping = stopping  # type: ignore[attr-defined]
        running.append((task, stopping))
        return task

    yield start
    for task, stopping in running:
        stopping.set()
        await asyncio.gather(task, return_exceptions=True)
