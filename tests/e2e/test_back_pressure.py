"""Back-pressure on the whole product: memory stays below its stated bounds, others keep their pace, nothing is lost."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.back_pressure.bounds import P99_RATIO, beyond
from tests.chaos.back_pressure.memory import watching_memory
from tests.chaos.back_pressure.scenes import (
    Ground,
    Outcome,
    Scene,
    deaf_agent,
    deaf_watchers,
    endless_output,
    stopped_aggregator,
    stopped_broadcaster,
)
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

_TRIES = 3
"""The pace of others is compared within one run, and yet somebody else may use the machine in one half of it alone."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    async with System.running(tmp_path_factory.mktemp("pressure") / "data", "--agents", "4") as system:
        async with watching_memory(system) as memory:
            ground = Ground(system, memory, noisy=system.agent_on("grpc"), undisturbed_s=4.0)
            await ground.trickle.run(2.0)
            yield ground


async def _kept_pace(scene: Scene, ground: Ground, seconds: float) -> list[Outcome]:
    """The scene's outcomes up to the first in which others kept their pace."""
    outcomes: list[Outcome] = []
    while len(outcomes) < _TRIES and not (outcomes and outcomes[-1].p99_ratio < P99_RATIO):
        outcomes.append(await scene(ground, seconds))
    return outcomes


@pytest.mark.parametrize(
    ("scene", "seconds"),
    [
        pytest.param(endless_output, 20.0, id="endless output and a watcher who does not read"),
        pytest.param(deaf_agent, 4.0, id="an agent that does not read its orders"),
        pytest.param(stopped_broadcaster, 4.0, id="a broadcaster that is stopped"),
    ],
)
async def test_others_keep_their_pace(ground: Ground, scene: Scene, seconds: float) -> None:
    """I9: one slow consumer never delays another."""
    outcomes = await _kept_pace(scene, ground, seconds)

    assert [outcome.lost for outcome in outcomes if outcome.lost] == []
    assert [beyond(outcome.peak_mib) for outcome in outcomes if beyond(outcome.peak_mib)] == []
    assert outcomes[-1].p99_ratio < P99_RATIO


@pytest.mark.parametrize(
    ("scene", "seconds"),
    [
        pytest.param(stopped_aggregator, 10.0, id="an aggregator that is stopped"),
        pytest.param(deaf_watchers, 6.0, id="two hundred watchers who do not read"),
    ],
)
async def test_memory_keeps_its_bounds_and_nothing_is_lost(
    ground: Ground, scene: Scene, seconds: float
) -> None:
    """I1, I9: what cannot go on waits where it is durable."""
    outcome = await scene(ground, seconds)

    assert outcome.lost == []
    assert beyond(outcome.peak_mib) == {}


@pytest.mark.parametrize("carrier", ["quic", "grpc"])
async def test_what_is_printed_beyond_the_limit_is_dropped_and_counted(ground: Ground, carrier: str) -> None:
    """I4: truncation is explicit, and the digest covers what was kept."""
    system, limit_bytes = ground.system, 1_000_000
    script = "head -c 5000000 /dev/zero; echo all right >&2"
    agent = system.agent_on(carrier)
    command_id = await system.command(agent, "shell", {"command": script}, max_output_bytes=limit_bytes)

    command = await system.ended(command_id)
    answer = await system.client.get(f"/api/command/{command_id}/output")
    events = [event async for event in system.watch(f"/api/command/{command_id}/events", output=0)]

    assert (command["status"], command["exit_code"]) == ("completed", 0)
    assert command["stdout"]["bytes"] == limit_bytes
    assert command["stdout"]["truncated_bytes"] == 4_000_000
    assert command["stdout"]["verified"] is True
    assert "truncated_bytes" not in command["stderr"]
    assert answer.content == bytes(limit_bytes)
    assert answer.headers["qd-truncated-bytes"] == "4000000"
    assert (events[-1].kind, events[-1].body) == ("end", {"truncated_bytes": {"stdout": 4_000_000}})
