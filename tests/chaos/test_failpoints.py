"""SIGKILL at every failpoint: the process is started again, and the command ends as docs/failpoints.md says.

One system has all failpoints armed, and a mark for each in QD_FAILPOINTS_DIR, which keeps it from striking. A test that
removes the mark lets the next process that comes by die there, once.
"""

import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio

from quarterdeck.contracts.states import CommandState
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.oracle import Kind, Oracle, Script
from tests.benchmarks.companion import ROOT
from tests.chaos.client import Client, Order
from tests.chaos.failpoints import MATRIX, Scene
from tests.chaos.feed import Feed
from tests.chaos.gathering import Gathered, gather, quiet
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ENDS_WITHIN_S = 60
_AGENTS = 4


class Stage:
    """A system whose failpoints strike when a test says so."""

    def __init__(self, system: System, oracle: Oracle, marks: Path) -> None:
        self.system = system
        self.oracle = oracle
        self.client = Client(system)
        self._marks = marks

    def arm(self, failpoint: str) -> None:
        (self._marks / failpoint).unlink()

    def has_struck(self, failpoint: str) -> bool:
        return (self._marks / failpoint).exists()

    async def order(self, script: Script, agent: str, key: str) -> Order:
        order = Order(
            key=key,
            path="/api/command",
            body={
                "client_id": agent,
                "command_type": "shell",
                "payload": {"command": script.shell},
                "timeout": 60,
                "queue_for": 60,
            },
            script=script,
            targets=[agent],
        )
        await self.client.post(order)
        return order

    async def result(self, order: Order) -> Gathered:
        late = await quiet(self.client, [order], within_s=_ENDS_WITHIN_S)
        assert not late, "did not end"
        return await gather(self.client, [order])

    async def number_of_ends(self, command_id: str) -> int:
        async with Feed.opened(self.system.ready["nats"]) as feed:
            return sum(end.command_id == command_id for end in await feed.ends())

    def gateways_of(self, agent: str) -> list[int]:
        carrier = self.system.ready["agents"][agent]["carrier"]
        return [pid for name, pid in self.system.ready["pids"].items() if name.startswith(carrier)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("failpoints")
    marks = directory / "marks"
    marks.mkdir()
    for failpoint in MATRIX:
        (marks / failpoint).touch()
    with _environment(
        QD_FAILPOINTS=",".join(f"{failpoint}=kill" for failpoint in MATRIX), QD_FAILPOINTS_DIR=str(marks)
    ):
        async with System.running(directory / "data", "--agents", str(_AGENTS)) as system:
            stage = Stage(system, Oracle(directory / "oracle"), marks)
            yield stage
            await stage.client.http.aclose()


@pytest.mark.parametrize("failpoint", MATRIX)
async def test_killed_at_a_failpoint_the_command_ends_as_expected(stage: Stage, failpoint: str) -> None:
    """I1, I2, I3, I4; I12 for the rebuild: see docs/failpoints.md."""
    number = list(MATRIX).index(failpoint)
    expected, agent = MATRIX[failpoint], stage.system.agents[number % _AGENTS]

    order = await _SCENES[expected.scene](stage, failpoint, agent)
    gathered = await stage.result(order)

    (seen,) = gathered.commands.values()
    starts = [start for start in stage.oracle.starts() if start.command_id == seen.command_id]
    assert seen.state in expected.ends, f"{seen.state}: {seen.reason}"
    assert len(starts) in expected.starts
    assert seen.printed is not None
    assert seen.printed.is_prefix
    if seen.state is CommandState.SUCCEEDED:
        assert seen.printed.is_whole
        assert seen.claim is not None and seen.claim.verified
    else:
        assert seen.claim is None or not seen.claim.verified or seen.claim.length == seen.printed.length

    async def told_once() -> bool:
        return await stage.number_of_ends(seen.command_id) == 1

    await eventually(told_once)


async def test_code_matrix_and_page_name_the_same_failpoints() -> None:
    in_code = {
        name
        for path in (*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py"))
        for name in re.findall(r"failpoints\.reach\(\"([a-z_.]+)\"\)", path.read_text())
    }
    on_page = set(re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/failpoints.md").read_text(), re.MULTILINE))

    assert in_code == set(MATRIX)
    assert on_page == set(MATRIX)


async def _command(stage: Stage, failpoint: str, agent: str) -> Order:
    script = stage.oracle.script(Kind.QUICK, list(MATRIX).index(failpoint))
    stage.arm(failpoint)
    order = await stage.order(script, agent, failpoint)
    await _struck(stage, failpoint)
    return order


async def _cut_off(stage: Stage, failpoint: str, agent: str) -> Order:
    """More than the executor keeps in memory, with nobody to take it."""
    gate = stage.oracle.path.with_name(f"gate-{failpoint}")
    bulk = stage.oracle.script(Kind.BULK, 1)
    sworn, _, printing = bulk.shell.partition("; ")
    waits = f"{sworn}; while ! [ -e {gate} ]; do sleep 0.02; done; {printing}; {printing}; {printing}"
    script = Script(
        kind=Kind.BULK,
        shell=waits,
        exit_code=bulk.exit_code,
        stdout=lambda attempt: bulk.stdout(attempt) * 3,
    )
    order = await stage.order(script, agent, failpoint)

    def started() -> bool:
        return any(start.command_id == order.answered_id for start in stage.oracle.starts())

    await eventually(started)
    gateways = stage.gateways_of(agent)
    for pid in gateways:
        os.kill(pid, signal.SIGSTOP)
    try:
        stage.arm(failpoint)
        gate.touch()
        await _struck(stage, failpoint)
    finally:
        for pid in gateways:
            os.kill(pid, signal.SIGCONT)
    return order


async def _redis_lost(stage: Stage, failpoint: str, agent: str) -> Order:
    script = stage.oracle.script(Kind.QUICK, list(MATRIX).index(failpoint))
    order = await stage.order(script, agent, failpoint)
    await stage.result(order)
    stage.arm(failpoint)
    async with redis.asyncio.from_url(stage.system.ready["redis"]) as server:
        await server.flushall()
    await _struck(stage, failpoint)
    return order


async def _struck(stage: Stage, failpoint: str) -> None:
    await eventually(lambda: stage.has_struck(failpoint), within_s=30)


_SCENES: dict[Scene, Callable[[Stage, str, str], Awaitable[Order]]] = {
    Scene.COMMAND: _command,
    Scene.CUT_OFF: _cut_off,
    Scene.REDIS_LOST: _redis_lost,
}


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
