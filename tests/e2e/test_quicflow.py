"""Clients of the QUIC command and callback system, used as its document uses them: posted, then asked for.

One is the stand-alone sample, one the Python SDK's as a process of its own; both were registered by name.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.quicflow import Answering, ClientOptions, NotAccepted, SampleClient
from tests.e2e.agents import connected
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIELD, OURS = "client-001", "client-002"


class Plane:
    """A system that admits nobody unasked, and its two clients."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.field = self.client()

    def client(self, **options: Any) -> SampleClient:
        ready = self.system.ready
        made = ClientOptions(client_id=FIELD, **options)
        return SampleClient(ready["quic"], Path(ready["ca"]).read_bytes(), made)

    async def outcome(self, client_id: str, command_type: str, payload: Any, **more: Any) -> dict[str, Any]:
        """Of a command, as GET /api/command/{id} shows it at the end."""
        return await self.system.ended(await self.system.command(client_id, command_type, payload, **more))

    async def away(self) -> bool:
        return not await connected(self.system, FIELD)


async def registered(system: System, client_id: str) -> None:
    identity = {"client_id": client_id}
    body = {"agent_id": client_id, "name": client_id, "dialect": "quicflow", "identity": identity}
    await system.post("/api/agents", body, status=201)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    data_dir = tmp_path_factory.mktemp("quicflow") / "data"
    async with System.running(data_dir, "--agents", "0") as system:
        for client_id in (FIELD, OURS):
            await registered(system, client_id)
        plane = Plane(system)
        await plane.field.connect()
        ours = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck.agent.quicflow"),
            *("--server", f"quic://{system.ready['quic']}", "--client-id", OURS, "--ca", system.ready["ca"]),
        )
        for client_id in (FIELD, OURS):
            await eventually(partial(connected, system, client_id), within_s=60)
        yield plane
        ours.terminate()
        assert await asyncio.wait_for(ours.wait(), 30) == 0
        await plane.field.close()


@pytest.mark.parametrize("client_id", [FIELD, OURS])
async def test_restart_of_the_document_runs_to_its_result(plane: Plane, client_id: str) -> None:
    """S0-1, S0-2, S0-10, S0-15: the document's own example, on both clients."""
    command = await plane.outcome(client_id, "restart", {"delay_seconds": 0.1}, timeout=30)

    assert (command["status"], command["client_id"]) == ("completed", client_id)
    assert command["result"] == {"success": True, "message": "Restarted"}
    assert command["timeout"] == 30_000_000_000
    assert command["via"] == {"carrier": "quic", "dialect": "quicflow"}


@pytest.mark.parametrize("client_id", [FIELD, OURS])
async def test_unknown_type_fails_in_the_words_of_the_document(plane: Plane, client_id: str) -> None:
    """S0-12, S0-20"""
    command = await plane.outcome(client_id, "self_destruct", {})

    assert (command["status"], command["error"]) == ("failed", "unknown command: self_destruct")


async def test_payload_that_does_not_fit_fails_before_anything_runs(plane: Plane) -> None:
    """S0-21, S0-28"""
    command = await plane.outcome(OURS, "restart", {"delay_seconds": "soon"})

    assert command["status"] == "failed"
    assert command["error"].startswith("invalid payload: ")


async def test_command_that_takes_too_long_is_a_promise_timeout(plane: Plane) -> None:
    """S0-9, S0-19"""
    command = await plane.outcome(OURS, "restart", {"delay_seconds": 60}, timeout=1)

    assert (command["status"], command["error"]) == ("timeout", "promise timeout")


async def test_shell_is_refused_before_anything_is_sent(plane: Plane) -> None:
    sent = len(plane.field.orders)

    command = await plane.outcome(FIELD, "shell", {"command": "true"})

    assert (command["status"], command["state"]) == ("failed", "rejected")
    assert len(plane.field.orders) == sent


async def test_terminated_command_says_that_it_may_still_run(plane: Plane) -> None:
    """The protocol has no stop, and nobody is told otherwise."""
    command_id = await plane.system.command(FIELD, "restart", {"delay_seconds": 60})
    await eventually(lambda: plane.field.orders[-1].text(1) == command_id)

    await plane.system.post(f"/api/command/{command_id}/terminate", {}, status=202)

    command = await plane.system.ended(command_id)
    assert (command["state"], command["reason"]) == ("terminated", "may_still_run")


async def test_client_that_went_away_is_not_connected_until_it_is_back(plane: Plane) -> None:
    """S0-18, S0-36, S0-37: what ran ends, what comes meanwhile is refused, and afterwards all is as before."""
    running = await plane.system.command(FIELD, "restart", {"delay_seconds": 60})
    await eventually(lambda: plane.field.orders[-1].text(1) == running)

    await plane.field.close()

    assert (await plane.system.ended(running))["state"] == "outcome_unknown"
    await eventually(plane.away, within_s=60)
    waiting = await plane.system.command(FIELD, "echo", "for later", queue_for=60)
    plane.field = await plane.client(answering=Answering.RESPONSE_JSON).connect()
    assert (await plane.system.ended(waiting))["result"] == "for later"


async def test_second_client_of_a_name_is_turned_away(plane: Plane) -> None:
    with pytest.raises(NotAccepted) as refusal:
        await plane.client().connect()

    assert refusal.value.code == 1
    assert (await plane.outcome(FIELD, "echo", [1]))["result"] == [1]
