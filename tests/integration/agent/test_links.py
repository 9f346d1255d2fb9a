"""Agents on real carriers: enrolment and proof, commands, loss, and the many ways in which a link ends."""

import asyncio
import os
from pathlib import Path

import pytest

from quarterdeck.agent.errors import AgentRefused
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.samples import SampleCommands
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import enrol_proof_valid, hello_proof_valid
from quarterdeck.wire.join_token import JoinToken
from quarterdeck.wire.pki import CertificateAuthority
from tests.integration.agent.conftest import StartAgent
from tests.integration.agent.stub_gateway import GrpcStub, QuicStub, StubGateway, StubLink, next_link
from tests.unit.agent.conversation import Conversation

QUIC_IDLE_TIMEOUT_S = 20


async def open_link(link: StubLink, conversation: Conversation | None = None) -> Conversation:
    """The usual opening, with enrolment when asked for; then a conversation over the link."""
    first = await link.challenge()
    if first.WhichOneof("body") == "enrol":
        await link.say(enrolled=pb.Enrolled(tenant="acme", agent_id=first.enrol.agent_id))
        first = await link.hear()
    conversation = conversation or Conversation(link)
    conversation.executor = link
    conversation.hello = first.hello
    await link.say(welcome=conversation.welcome())
    conversation.listen()
    return conversation


async def test_agent_enrols_proves_its_key_and_runs_commands(
    gateway: StubGateway, start_agent: StartAgent, join_token: JoinToken
) -> None:
    """Enrol and Hello carry valid proofs over this link's nonce; then a command runs over it. S4-1 S4-7"""
    await start_agent(gateway, labels={"env": "test"}, name="Web one")
    link = await next_link(gateway)

    enrol = (await link.challenge()).enrol
    await link.say(enrolled=pb.Enrolled(tenant="acme", agent_id="web-1"))
    hello = (await link.hear()).hello
    conversation = Conversation(link)
    await link.say(welcome=conversation.welcome())
    conversation.listen()
    key = await conversation.shell("head -c 1000000 /dev/urandom; exit 4")
    result = await conversation.result(key)

    assert (enrol.join_secret, enrol.agent_id, enrol.name) == (join_token.secret, "web-1", "Web one")
    assert enrol_proof_valid(enrol.public_key, enrol.signature, nonce=link.nonce, agent_id="web-1")
    assert (hello.agent_id, hello.tenant, dict(hello.labels)) == ("web-1", "acme", {"env": "test"})
    assert hello_proof_valid(enrol.public_key, hello.signature, nonce=link.nonce, agent_id="web-1")
    assert {"hostname", "os", "kernel", "arch", "cpu_count", "memory_bytes", "python"} <= set(hello.facts)
    assert (hello.version, bool(hello.boot_id)) == ("0.1.0", True)
    assert (result.exit_code, result.stdout.length) == (4, 1_000_000)


async def test_enrolment_survives_a_restart_without_the_token(
    gateway: StubGateway, start_agent: StartAgent
) -> None:
    task = await start_agent(gateway)
    await open_link(await next_link(gateway))
    task.stopping.set()  # type: ignore[attr-defined]
    await task

    await start_agent(gateway, join_token=None)
    answer = await (await next_link(gateway)).challenge()

    assert answer.hello.tenant == "acme"


async def test_gateway_of_another_ca_is_not_trusted(
    gateway: StubGateway, start_agent: StartAgent, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(CertificateAuthority.create().certificate_pem)
    await start_agent(gateway, ca_path=other)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            link = await gateway.links.get()
            await link.challenge()


async def test_broken_link_is_replaced_and_output_resumes(
    gateway: StubGateway, start_agent: StartAgent, tmp_path: Path
) -> None:
    """S0-37 S1-27 I4: the command runs on, output goes on where it stopped, the result comes once all is there."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await start_agent(gateway)
    link = await next_link(gateway)
    conversation = await open_link(link)
    key = await conversation.shell(f"printf before; read x < {gate}; printf after")
    await conversation.until(lambda: conversation.stdout(key) == b"before")
    await conversation.cut()
    link.close()

    second = await next_link(gateway)
    await open_link(second, conversation)
    gate.write_text("go\n")
    result = await conversation.result(key)

    assert [entry.stdout_offset for entry in conversation.hello.journal] == [6]
    assert (result.exit_code, conversation.stdout(key)) == (0, b"beforeafter")


async def test_drained_agent_goes_to_another_gateway(
    grpc_gateway: GrpcStub, quic_gateway: QuicStub, start_agent: StartAgent
) -> None:
    """S1-27: from one carrier to the other, at once."""
    await start_agent(grpc_gateway, quic_gateway)
    arrivals = {asyncio.create_task(next_link(gateway)): gateway for gateway in (grpc_gateway, quic_gateway)}
    done, (other,) = await asyncio.wait(arrivals, return_when=asyncio.FIRST_COMPLETED)
    first = done.pop().result()
    await open_link(first)

    await first.say(drain=pb.Drain(within_ms=1000))
    second = await other

    await open_link(second)


async def test_quic_gateway_that_died_is_noticed_long_before_the_idle_timeout(
    grpc_gateway: GrpcStub, quic_gateway: QuicStub, start_agent: StartAgent
) -> None:
    """S1-27: nobody says that it is gone; an agent that has nothing to say finds out, and goes elsewhere."""
    await start_agent(quic_gateway, grpc_gateway)
    arrivals = {asyncio.create_task(next_link(gateway)): gateway for gateway in (grpc_gateway, quic_gateway)}
    (first,), (other,) = await asyncio.wait(arrivals, return_when=asyncio.FIRST_COMPLETED)
    if arrivals[first] is grpc_gateway:
        await open_link(first.result())
        await first.result().say(drain=pb.Drain(within_ms=1000))
        on_quic, elsewhere = await other, asyncio.create_task(next_link(grpc_gateway))
    else:
        on_quic, elsewhere = first.result(), other
    await open_link(on_quic)

    quic_gateway.die()

    async with asyncio.timeout(QUIC_IDLE_TIMEOUT_S - 5):
        await elsewhere


@pytest.mark.parametrize("reason", ["revoked", "identity_conflict", "join_token_invalid"])
async def test_final_refusal_stops_the_agent(
    gateway: StubGateway, start_agent: StartAgent, reason: str
) -> None:
    task = await start_agent(gateway)
    link = await next_link(gateway)
    await link.challenge()

    await link.say(goodbye=pb.Goodbye(reason=reason, message="no"))

    with pytest.raises(AgentRefused) as caught:
        await task
    assert caught.value.reason == reason


async def test_replaced_agent_backs_off(gateway: StubGateway, start_agent: StartAgent) -> None:
    """Two processes of one identity must not chase each other."""
    await start_agent(gateway)
    link = await next_link(gateway)
    conversation = await open_link(link)
    await conversation.cut()

    await link.say(goodbye=pb.Goodbye(reason="replaced"))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await gateway.links.get()


async def test_agent_that_stops_ends_its_commands_and_says_goodbye(
    gateway: StubGateway, start_agent: StartAgent
) -> None:
    """S4-31: commands are terminated, their ends reported, and the gateway knows that it was meant."""
    task = await start_agent(gateway, stop_grace_s=5)
    link = await next_link(gateway)
    conversation = await open_link(link)
    key = await conversation.shell("sleep 100")
    await conversation.report(key, pb.Started)

    task.stopping.set()  # type: ignore[attr-defined]
    result = await conversation.result(key)
    await conversation.until(lambda: any(isinstance(said, pb.Goodbye) for said in conversation.reports))
    await task

    assert (result.end, result.reason) == (pb.TERMINATED, "agent_stopped")
    assert conversation.reports[-1].reason == "leaving"


async def test_undecodable_frame_ends_the_link_and_the_agent_comes_back(
    gateway: StubGateway, start_agent: StartAgent
) -> None:
    await start_agent(gateway)
    link = await next_link(gateway)
    conversation = await open_link(link)
    await conversation.cut()

    await link.send(b"\xff\xff\xff no frame at all")
    said = await link.ended()

    assert said[-1].goodbye.reason == "undecodable"
    await open_link(await next_link(gateway))


async def test_lower_epoch_than_seen_is_refused(gateway: StubGateway, start_agent: StartAgent) -> None:
    await start_agent(gateway)
    link = await next_link(gateway)
    conversation = await open_link(link)
    await conversation.cut()
    link.close()

    stale = await next_link(gateway)
    await stale.challenge()
    await stale.say(welcome=pb.Welcome(epoch=pb.Epoch(incarnation=0, revision=9), window_bytes=1000))
    await stale.ended()

    await open_link(await next_link(gateway), conversation)


async def test_messages_that_share_the_frame_of_the_welcome_are_not_lost(
    gateway: StubGateway, start_agent: StartAgent
) -> None:
    await start_agent(gateway)
    link = await next_link(gateway)
    await link.challenge()
    await link.say(enrolled=pb.Enrolled(tenant="acme", agent_id="web-1"))
    await link.hear()
    conversation = Conversation(link)
    welcome = conversation.welcome()
    spec = pb.CommandSpec(command_type="shell", payload=b'{"command": "echo early"}').SerializeToString()
    order = pb.Order(command_id="early", attempt=1, epoch=conversation.epoch, spec=spec)
    await link.send(
        pb.GatewayFrame(
            messages=[pb.GatewayMessage(welcome=welcome), pb.GatewayMessage(), pb.GatewayMessage(order=order)]
        ).SerializeToString()
    )
    conversation.listen()

    assert (await conversation.result(("early", 1))).end == pb.SUCCEEDED


async def test_heartbeats_come_at_the_interval_of_the_welcome(
    gateway: StubGateway, start_agent: StartAgent
) -> None:
    await start_agent(gateway)
    link = await next_link(gateway)
    await link.challenge()
    await link.say(enrolled=pb.Enrolled(tenant="acme", agent_id="web-1"))
    await link.hear()
    await link.say(welcome=pb.Welcome(epoch=pb.Epoch(revision=1), heartbeat_interval_ms=20, window_bytes=1))

    beats = [await link.hear() for _ in range(3)]

    assert [beat.WhichOneof("body") for beat in beats] == ["heartbeat"] * 3


async def test_handlers_run_over_a_real_link(gateway: StubGateway, start_agent: StartAgent) -> None:
    """S0-10 S0-15: restart with a delay, as the source's sample."""
    handlers = Handlers()
    SampleCommands().register(handlers)
    await start_agent(gateway, handlers=handlers)
    conversation = await open_link(await next_link(gateway))

    key = await conversation.order("restart", {"delay_seconds": 0.01})
    result = await conversation.result(key)

    assert (result.end, result.result) == (pb.SUCCEEDED, b'{"success":true,"message":"Restarted"}')
    assert set(conversation.hello.capabilities) == {
        "catalogue",
        "exec",
        "list_commands",
        "list_namespaces",
        "restart",
        "shell",
        "update_config",
    }


async def test_large_output_crosses_the_carrier_whole(gateway: StubGateway, start_agent: StartAgent) -> None:
    """S4-35: 20 MB of random bytes, SHA-256 equal (checked by the conversation)."""
    await start_agent(gateway)
    conversation = await open_link(await next_link(gateway))
    conversation.keep_content = False

    key = await conversation.shell("head -c 20000000 /dev/urandom")

    assert (await conversation.result(key, timeout_s=60)).stdout.length == 20_000_000
