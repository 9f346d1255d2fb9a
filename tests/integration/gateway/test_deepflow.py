"""DeepFlow agents over real sockets: the sample agent, which knows nothing of our code, against the gRPC gateway."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import Carrier, Epoch, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import GatewayOrder, GatewayOrders, GatewayTerminate, TerminateItem
from quarterdeck.contracts.reports import Rejected, Report, Result
from quarterdeck.contracts.states import CommandState
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import agent_key, link_key
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.deepflow import AgentOptions, NotAnswered, SampleAgent
from tests.conformance.handpacked import integer, nested, octets, pack, text
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator

TENANT = "default"
AGENT_ID = "df-10-0-0-7-aa-bb-cc-dd-ee-07"


class Field:
    """A gateway that admits strangers, the agents that came, and what was reported of their commands."""

    def __init__(self, bus: Bus, gateway: Station, aggregator: Aggregator) -> None:
        self.bus = bus
        self.gateway = gateway
        self.aggregator = aggregator
        self.agents: list[SampleAgent] = []
        self._numbers = count(1)

    def agent(self, **options: object) -> SampleAgent:
        """One that has not called yet."""
        assert self.gateway.plain_address is not None
        agent = SampleAgent(self.gateway.plain_address, AgentOptions(**options))  # type: ignore[arg-type]
        self.agents.append(agent)
        return agent

    async def connected(self, **options: object) -> SampleAgent:
        return await self.agent(**options).connect()

    async def link(self, agent_id: str = AGENT_ID) -> tuple[LinkRecord, int]:
        """The newest record of the agent's link, and its revision."""
        entry = await self.gateway.ctx.registry.links.get(link_key(TENANT, agent_id))
        assert entry is not None
        return entry.value, entry.revision

    async def order(
        self,
        command_type: str,
        payload: object = None,
        *,
        agent_id: str = AGENT_ID,
        timeout_ms: int = 600_000,
    ) -> str:
        """What a dispatcher does; the id of the command."""
        command_id = f"c{next(self._numbers)}"
        _, revision = await self.link(agent_id)
        epoch = Epoch(self.gateway.ctx.registry.links.incarnation, revision)
        spec = CommandSpec(
            command_type=command_type, payload=json.dumps(payload or {}).encode(), grace_ms=100
        )
        orders = (GatewayOrder(command_id, agent_id, 1, epoch, timeout_ms),)
        await self.bus.request(
            subjects.order(self.gateway.gateway_id),
            codec.encode(GatewayOrders(tenant=TENANT, spec=spec, orders=orders)),
        )
        return command_id

    async def run(self, ident: str, **params: str) -> str:
        return await self.order("catalogue", {"ident": ident, "params": params})

    async def terminate(self, command_id: str) -> None:
        request = GatewayTerminate(tenant=TENANT, items=(TerminateItem(command_id, AGENT_ID, 1, 100),))
        await self.bus.request(subjects.control(self.gateway.gateway_id), codec.encode(request))

    async def result(self, command_id: str) -> Result:
        def results(reports: list[Report]) -> list[Result]:
            return [one for one in reports if isinstance(one, Result) and one.command_id == command_id]

        await self.aggregator.wait(lambda reports: bool(results(reports)))
        [result] = results(self.aggregator.reports)
        return result

    async def output(self, command_id: str) -> bytes:
        subject = subjects.output(TENANT, None, command_id, 1, "stdout")
        read = self.bus.read(FEED, [subject], follow=False)
        return b"".join([message.body async for messages in read for message in messages])


@pytest.fixture
async def field(bus: Bus, aggregator: Aggregator, tmp_path: Path) -> AsyncIterator[Field]:
    async with station(bus, Carrier.GRPC, tmp_path, admit_dialects=True) as gateway:
        field = Field(bus, gateway, aggregator)
        yield field
        for agent in field.agents:
            await agent.close()


async def test_agent_is_known_by_its_ip_and_mac(field: Field) -> None:
    """S1-5, S1-28"""
    await field.connected(team_id="team-1")

    entry = await field.gateway.ctx.registry.agents.get(agent_key(TENANT, AGENT_ID))
    assert entry is not None
    assert entry.value.aliases == {Dialect.DEEPFLOW: "10.0.0.7-aa:bb:cc:dd:ee:07"}
    assert entry.value.facts == {"ip": "10.0.0.7", "mac": "aa:bb:cc:dd:ee:07", "team_id": "team-1"}
    assert entry.value.capabilities == ("catalogue", "list_commands", "list_namespaces")
    link, _ = await field.link()
    assert (link.carrier, link.dialect) == (Carrier.GRPC, "deepflow")


async def test_catalogue_command_runs(field: Field) -> None:
    """S1-8, S1-11"""
    agent = await field.connected()

    command_id = await field.run("say", what="what the operator wrote")

    result = await field.result(command_id)
    assert (result.end, result.exit_code) == (CommandState.SUCCEEDED, 0)
    assert await field.output(command_id) == b"what the operator wrote"
    assert agent.requests[0].integer(1) == 2


async def test_large_output_is_exact(field: Field) -> None:
    """S1-8, S1-20: in chunks of no more than was asked for."""
    await field.connected()

    command_id = await field.run("zeros", bytes="3000001")

    result = await field.result(command_id)
    content = b"\0" * 3_000_001
    assert (result.end, result.stdout.length) == (CommandState.SUCCEEDED, len(content))
    assert result.stdout.stored_sha256 == hashlib.sha256(content).digest()
    assert await field.output(command_id) == content


@pytest.mark.parametrize(
    ("ident", "output", "error", "exit_code"),
    [
        ("fail", b"", "no such thing\n", 3),
        ("half", b"half\n", "broken\n", 4),
        ("nothing", b"", "command not found for id nothing", None),
    ],
)
async def test_failure_carries_what_the_agent_said(
    field: Field, ident: str, output: bytes, error: str, exit_code: int | None
) -> None:
    """S1-18: stderr comes as errmsg."""
    await field.connected()

    result = await field.result(command_id := await field.run(ident))

    assert (result.end, result.error, result.exit_code) == (CommandState.FAILED, error, exit_code)
    assert await field.output(command_id) == output


async def test_command_without_output_succeeds(field: Field) -> None:
    await field.connected()
    assert (await field.result(await field.run("quiet"))).end is CommandState.SUCCEEDED


async def test_agent_lists_its_commands_and_namespaces(field: Field) -> None:
    """S1-9, S1-10"""
    await field.connected()

    commands = await field.result(await field.order("list_commands"))
    namespaces = await field.result(await field.order("list_namespaces"))

    assert [command["ident"] for command in json.loads(commands.result)["commands"]][:2] == ["hello", "say"]
    kinds = {namespace["ns_type"] for namespace in json.loads(namespaces.result)["namespaces"]}
    assert {"net", "mnt", "pid"} <= kinds


async def test_second_command_waits_for_the_first_and_lists_do_not(field: Field) -> None:
    """S1-16: in the agent it would overwrite the first."""
    agent = await field.connected(deaf=True)
    first, second = await field.run("hello"), await field.run("hello")
    listed = await field.order("list_commands")

    run, listing = await agent.asked(2)
    assert (run.integer(2), listing.integer(2)) == (2, 0)
    await agent.say(listing.integer(1), nested(4, text(6, "ps")))
    assert (await field.result(listed)).end is CommandState.SUCCEEDED
    assert len(agent.requests) == 2

    await agent.say_error(run.integer(1), "not today")
    assert (await field.result(first)).error == "not today"
    *_, last = await agent.asked(3)
    await agent.say_error(last.integer(1), "nor tomorrow")
    assert (await field.result(second)).error == "nor tomorrow"


@pytest.mark.parametrize(
    ("options", "reason"), [({"wrong_md5": True}, "md5_mismatch"), ({"wrong_total_len": True}, "protocol")]
)
async def test_answer_that_does_not_hold_together_fails_its_command_alone(
    field: Field, options: dict[str, bool], reason: str
) -> None:
    """S1-8"""
    await field.connected(**options)

    result = await field.result(await field.run("hello"))
    assert (result.end, result.reason) == (CommandState.FAILED, reason)
    assert (await field.result(await field.run("quiet"))).end is CommandState.SUCCEEDED


async def test_shell_is_rejected_before_anything_is_sent(field: Field) -> None:
    """S1-25"""
    agent = await field.connected()

    await field.order("shell", {"command": "id"})
    await field.aggregator.wait(lambda reports: any(isinstance(report, Rejected) for report in reports))

    [rejected] = [report for report in field.aggregator.reports if isinstance(report, Rejected)]
    assert rejected.reason == "unsupported_by_dialect"
    await field.result(await field.run("hello"))
    assert [request.integer(2) for request in agent.requests] == [2]


async def test_stopped_command_ends_here_and_its_late_answer_is_fenced(field: Field) -> None:
    """I8, S1-18"""
    agent = await field.connected(deaf=True)
    command_id = await field.run("wait", seconds="600")
    [request] = await agent.asked(1)

    await field.terminate(command_id)

    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.TERMINATED, "may_still_run")
    assert result.error == "agent may still run it"
    with capture_logs() as logged:
        for _ in range(3):
            await agent.say_chunk(request.integer(1), b"late")
        await agent.say_heartbeat()
        await eventually(lambda: agent.heartbeat_answers == 2)
    assert [line["what"] for line in logged if line["event"] == "gateway.message_fenced"] == ["a late answer"]
    assert await field.output(command_id) == b""


async def test_command_that_outlasts_its_timeout_is_given_up(field: Field) -> None:
    """S1-18: the gateway keeps the time, the agent knows of none."""
    await field.connected(deaf=True)
    command_id = await field.order("catalogue", {"ident": "wait"}, timeout_ms=50)

    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "may_still_run")


async def test_flood_of_heartbeats_starves_nobody(field: Field) -> None:
    """S1-12, S1-13, S1-19"""
    flooding = await field.connected()
    await field.connected(ip="10.0.0.8")

    async def flood() -> None:
        while True:
            await flooding.say_heartbeat()

    flood_task = asyncio.create_task(flood())
    with capture_logs() as logged:
        there = await field.result(await field.run("zeros", bytes="300000"))
        other = "df-10-0-0-8-aa-bb-cc-dd-ee-07"
        elsewhere = await field.result(await field.order("catalogue", {"ident": "hello"}, agent_id=other))
        await eventually(lambda: any(line["event"] == "gateway.heartbeats_received" for line in logged))
    flood_task.cancel()

    assert (there.end, there.stdout.length) == (CommandState.SUCCEEDED, 300_000)
    assert elsewhere.end is CommandState.SUCCEEDED
    assert all(line["count"] % 20 == 0 for line in logged if line["event"] == "gateway.heartbeats_received")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xff\xff\xff",
        pack(integer(2, 2), nested(6, octets(2, b"a result of whom?"))),
        nested(1, text(1, "10.0.0.7")),
        nested(1, text(1, "no address"), text(2, "aa:bb:cc:dd:ee:07")),
        nested(1, text(1, "10.0.0.7"), octets(2, b"\xff\xfe")),
    ],
    ids=["empty", "no_message", "no_name", "no_mac", "no_ip", "no_utf8"],
)
async def test_first_response_that_names_nobody_ends_its_link_alone(field: Field, first: bytes) -> None:
    """S1-2, S1-4"""
    await field.connected()
    stranger = field.agent()
    await stranger.dial()

    await stranger.say_raw(first)

    assert await stranger.hear() is None
    assert (await field.result(await field.run("hello"))).end is CommandState.SUCCEEDED


async def test_response_in_anothers_name_ends_the_link(field: Field) -> None:
    """S1-28: what ran on it is not known, and said so."""
    agent = await field.connected(deaf=True)
    command_id = await field.run("hello")
    await agent.asked(1)

    await agent.say(2, text(3, "done"), who=nested(1, text(1, "10.0.0.9"), text(2, "aa:bb:cc:dd:ee:07")))

    await agent.ended.wait()
    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")
    assert (await _ended(field)).end is LinkEnd.UNAUTHENTICATED


async def test_newer_link_replaces_the_older(field: Field) -> None:
    """S1-6"""
    older = await field.connected()
    newer = await field.connected()

    await older.ended.wait()
    assert (await field.result(await field.run("hello"))).end is CommandState.SUCCEEDED
    assert len(newer.requests) == 1


async def test_requests_of_a_new_link_count_from_two_again(field: Field) -> None:
    """S1-6, S1-21: nothing of the older link is left."""
    older = await field.connected(deaf=True)
    lost = await field.run("hello")
    await older.asked(1)
    await older.finish()
    await field.result(lost)

    newer = await field.connected()
    command_id = await field.run("hello")

    assert (await field.result(command_id)).end is CommandState.SUCCEEDED
    assert newer.requests[0].integer(1) == 2


async def test_end_and_loss_of_a_call_are_told_apart(field: Field) -> None:
    """S1-17"""
    with capture_logs() as logged:
        leaving = await field.connected()
        await leaving.finish()
        await _ended(field)
        assert not [line for line in logged if line["event"] == "gateway.connection_lost"]

        await (await field.connected()).close()
        await _ended(field)
    assert [line["cause"] for line in logged if line["event"] == "gateway.connection_lost"] == ["cancelled"]


async def test_stranger_hears_nothing_where_nobody_is_admitted(bus: Bus, tmp_path: Path) -> None:
    """S1-2, S1-28"""
    async with station(bus, Carrier.GRPC, tmp_path) as gateway:
        stranger = SampleAgent(f"127.0.0.1:{gateway.address.port}", ca_pem=gateway.ca_pem)
        with pytest.raises(NotAnswered):
            await stranger.connect()
        await stranger.close()


async def test_registered_agent_comes_over_tls(bus: Bus, tmp_path: Path) -> None:
    """S1-28"""
    record = AgentRecord(
        tenant="acme",
        agent_id="web-1",
        name="web-1",
        aliases={Dialect.DEEPFLOW: "10.0.0.7-aa:bb:cc:dd:ee:07"},
    )
    async with station(bus, Carrier.GRPC, tmp_path) as gateway:
        await ForeignAgents(gateway.ctx.registry).register(record, b"")
        agent = SampleAgent(f"127.0.0.1:{gateway.address.port}", ca_pem=gateway.ca_pem)
        await agent.connect()

        entry = await gateway.ctx.registry.links.get(link_key("acme", "web-1"))
        assert entry is not None
        assert entry.value.ended_at_ms is None
        await agent.close()


async def _ended(field: Field) -> LinkRecord:
    async def ended() -> bool:
        return (await field.link())[0].ended_at_ms is not None

    await eventually(ended)
    return (await field.link())[0]
