"""Each HTTP example of the source documents, replayed word for word on a whole system."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.quicflow import ClientOptions, SampleClient
from tests.e2e.agents import agent, connected
from tests.e2e.documents import EXAMPLES
from tests.e2e.examples import Example, found, plain, says, shown
from tests.e2e.system import System


class Stage:
    """What the examples take for granted: machines, and what goes on before. One method per scene."""

    def __init__(self, system: System, directory: Path, stack: AsyncExitStack) -> None:
        self._system = system
        self._directory = directory
        self._stack = stack
        self._client: SampleClient | None = None
        self.given: dict[str, str] = {}
        """What earlier answers and scenes gave, by the names of the table."""

    async def client_001_connects(self) -> None:
        """A client of the source system's own protocol, as its operator would register it."""
        await self._system.post(
            "/api/agents",
            {
                "agent_id": "client-001",
                "name": "client-001",
                "dialect": "quicflow",
                "identity": {"client_id": "client-001"},
            },
            status=201,
        )
        await self._dial()

    async def client_001_is_offline_and_has_update_config_pending(self) -> None:
        assert self._client is not None
        await self._client.close()

        async def away() -> bool:
            return not await connected(self._system, "client-001")

        await eventually(away, within_s=60)
        await self._command("update_config", {"config": {"a": 1}}, queue_for=600)

    async def client_001_is_given_up(self) -> None:
        """A link that was lost a moment ago may be back in a moment: until then commands are taken in."""
        body = {"client_id": "client-001", "command_type": "restart", "payload": {}, "timeout": 30}

        async def refused() -> bool:
            return (await self._system.client.post("/api/command", json=body)).status_code == 409

        await eventually(refused, within_s=60)

    async def client_001_is_too_slow(self) -> None:
        await self._dial()
        await self._command("restart", {"delay_seconds": 60}, timeout=1)

    async def client_001_refuses_its_parameters(self) -> None:
        await self._command("restart", {"delay_seconds": "soon"})

    async def a_session_exists(self) -> None:
        self.given["session"] = (await self._system.post("/api/sessions", {}, status=201))["session_id"]

    async def vps_1_and_2_connect(self) -> None:
        for agent_id, name in (("vps_id_1", "Server A"), ("vps_id_2", "Server B")):
            await self._stack.enter_async_context(
                agent(self._system, agent_id, self._directory / agent_id, "--name", name)
            )

    async def vps_1_prints_and_goes_on(self) -> None:
        self.given["batch"] = await self._system.batch(
            "echo 'line 1 from Server A...'; echo ...; sleep 600",
            ["vps_id_1"],
            execution_alias="My Batch Task",
        )

    async def _dial(self) -> None:
        ready = self._system.ready
        self._client = SampleClient(
            ready["quic"], Path(ready["ca"]).read_bytes(), ClientOptions(client_id="client-001")
        )
        await self._client.connect()
        self._stack.push_async_callback(self._client.close)
        await eventually(lambda: connected(self._system, "client-001"), within_s=60)

    async def _command(self, command_type: str, payload: Any, **more: Any) -> None:
        self.given["command"] = await self._system.command("client-001", command_type, payload, **more)


async def test_every_http_example_of_the_documents_answers_as_they_say(tmp_path: Path) -> None:
    """S0-1..6, S0-18..20, S3-1..3, S4-1..6, S4-12, S4-24, S4-25"""
    async with System.running(tmp_path / "data") as system, AsyncExitStack() as stack:
        stage = Stage(system, tmp_path, stack)
        for example in EXAMPLES:
            if example.scene:
                await getattr(stage, example.scene)()
            answer = await _replayed(system, example, stage.given)
            stage.given |= {name: found(answer, way) for name, way in example.gives.items()}


async def _replayed(system: System, example: Example, given: dict[str, str]) -> Any:
    """The answer, once it says what it should. An order is given once; a question is asked until it is true."""
    path = example.path
    for word, name in example.stands_for.items():
        path = path.replace(word, given[name])
    last: list[Any] = []

    async def as_it_says() -> bool:
        answer = await system.client.request(
            example.method,
            path,
            content=example.body,
            headers={"Content-Type": "application/json"} if example.body else {},
        )
        last[:] = [answer.status_code, answer.json()]
        expected = (shown(example), json.loads(plain(example.more or "{}")))
        return answer.status_code == example.status and all(
            says(document, _in_order(answer.json())) for document in expected
        )

    try:
        if example.method == "GET":
            await eventually(as_it_says, within_s=60)
        else:
            assert await as_it_says()
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{example.section}: {path} answered {last}") from error
    return last[1]


def _in_order(answer: Any) -> Any:
    """A list of commands by age: the document does not say in which order they come, ours are newest first."""
    if "commands" in answer:
        return {**answer, "commands": sorted(answer["commands"], key=lambda command: command["created_at"])}
    return answer
