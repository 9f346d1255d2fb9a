"""Real agents, as processes, on real gateways: what both sides make of the one protocol."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from quarterdeck.contracts import codec, reports, subjects
from quarterdeck.contracts.agents import JoinToken as JoinTokenRecord
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import Carrier, Epoch
from quarterdeck.contracts.orders import (
    GatewayCloseLinks,
    GatewayOrder,
    GatewayOrders,
    GatewayTerminate,
    TerminateItem,
)
from quarterdeck.contracts.states import CommandState
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry.keys import join_token_key, link_key
from quarterdeck.wire.join_token import JoinToken, secret_hash
from quarterdeck.wire.pki import CertificateAuthority
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator


class Fleet:
    """One gateway of a carrier and one agent process on it."""

    def __init__(self, gateway: Station, aggregator: Aggregator, agent_id: str) -> None:
        self.gateway = gateway
        self.aggregator = aggregator
        self.agent_id = agent_id

    async def epoch(self, above: int = 0) -> Epoch:
        """Of the agent's live link, once its revision is above `above`."""
        links, changed = self.gateway.ctx.registry.links, asyncio.Event()
        links.on_change(lambda *_: changed.set())
        async with asyncio.timeout(20):
            while True:
                changed.clear()
                entry = links.current.get(link_key("acme", self.agent_id))
                if entry is not None and entry.value.end is None and entry.revision > above:
                    return Epoch(links.incarnation, entry.revision)
                await changed.wait()

    async def run(self, command_id: str, script: str) -> Epoch:
        """Order a shell command over the live link."""
        epoch = await self.epoch()
        order = GatewayOrder(
            command_id=command_id, agent_id=self.agent_id, attempt=1, epoch=epoch, timeout_ms=60_000
        )
        spec = CommandSpec(command_type="shell", payload=msgspec.json.encode({"command": script}))
        orders = GatewayOrders(tenant="acme", batch_id="b1", spec=spec, orders=(order,))
        await self.gateway.ctx.bus.request(subjects.order(self.gateway.gateway_id), codec.encode(orders))
        return epoch

    async def result(self, command_id: str) -> reports.Result:
        def results() -> list[reports.Result]:
            found = self.aggregator.reports
            return [r for r in found if isinstance(r, reports.Result) and r.command_id == command_id]

        await self.aggregator.wait(lambda _: bool(results()), timeout_s=40)
        return results()[0]

    async def output(self, command_id: str, stream: str = "stdout") -> bytes:
        subject = subjects.output("acme", "b1", command_id, 1, stream)
        read = self.gateway.ctx.bus.read(FEED, [subject], follow=False)
        return b"".join([message.body async for messages in read for message in messages])

    async def control(self, message: GatewayTerminate | GatewayCloseLinks) -> None:
        await self.gateway.ctx.bus.request(subjects.control(self.gateway.gateway_id), codec.encode(message))


@pytest.fixture(params=[Carrier.QUIC, Carrier.GRPC], ids=str)
async def fleet(
    request: pytest.FixtureRequest, bus: Bus, aggregator: Aggregator, tmp_path: Path
) -> AsyncIterator[Fleet]:
    async with station(bus, request.param, tmp_path) as gateway:
        secret = "s" * 32
        record = JoinTokenRecord(
            token_id="t", tenant="acme", created_at_ms=0, expires_at_ms=1 << 50, uses_left=1
        )
        await gateway.ctx.registry.tokens.put(join_token_key(secret_hash(secret)), record)
        token = JoinToken(secret, CertificateAuthority.load_or_create(tmp_path).certificate_der)
        async with _agent(gateway, token, tmp_path / "agent"):
            yield Fleet(gateway, aggregator, "real")


@asynccontextmanager
async def _agent(gateway: Station, token: JoinToken, data_dir: Path) -> AsyncIterator[None]:
    arguments = ["--server", str(gateway.address), "--data-dir", str(data_dir), "--agent-id", "real"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "quarterdeck.agent",
        *arguments,
        env={**os.environ, "QD_AGENT_JOIN_TOKEN": str(token)},
    )
    try:
        yield
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_command_of_a_real_agent_ends_with_both_digests_equal(fleet: Fleet) -> None:
    """S0-10, S1-8, S4-17, S4-18"""
    await fleet.run("c1", "head -c 5000000 /dev/urandom; echo oops >&2; exit 3")

    result = await fleet.result("c1")

    content = await fleet.output("c1")
    assert len(content) == result.stdout.length == 5_000_000
    assert result.stdout.sha256 == result.stdout.stored_sha256 == hashlib.sha256(content).digest()
    assert await fleet.output("c1", "stderr") == b"oops\n" == result.stderr.tail
    assert (result.end, result.exit_code) == (CommandState.FAILED, 3)


async def test_output_goes_on_over_the_next_link_without_gap_or_repetition(fleet: Fleet) -> None:
    """S0-37, S1-27: the link is cut again and again while the command prints."""
    epoch = await fleet.run("c1", "seq 1 200000; sleep 0.3; seq 1 200000; sleep 0.3; seq 1 200000")
    # An order that a cut link swallowed is handed over again by a dispatcher, and there is none here.
    await fleet.aggregator.wait(lambda found: any(isinstance(report, reports.Started) for report in found))
    for _ in range(2):
        await fleet.control(GatewayCloseLinks(tenant="acme", agent_ids=("real",), reason="closed"))
        epoch = await fleet.epoch(above=epoch.revision)

    result = await fleet.result("c1")

    content = await fleet.output("c1")
    assert content == "".join(f"{number}\n" for number in range(1, 200_001)).encode() * 3
    assert result.stdout.sha256 == hashlib.sha256(content).digest()
    assert result.end is CommandState.SUCCEEDED


async def test_terminate_is_acknowledged_and_proved(fleet: Fleet) -> None:
    """S4-25, S4-27"""
    await fleet.run("c1", "echo started; sleep 600")
    await fleet.aggregator.wait(lambda found: any(isinstance(report, reports.Started) for report in found))

    item = TerminateItem(command_id="c1", agent_id="real", attempt=1, grace_ms=500)
    await fleet.control(GatewayTerminate(tenant="acme", items=(item,)))

    assert (await fleet.result("c1")).end is CommandState.TERMINATED
    assert any(isinstance(report, reports.TerminateAcked) for report in fleet.aggregator.reports)
