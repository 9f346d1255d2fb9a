"""QMP against a real QEMU: `-machine none -S`, which has a monitor and nothing else."""

import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.machines import keys
from quarterdeck.machines.errors import (
    ConnectFailed,
    ConnectionEnded,
    MonitorBusy,
    NotSupported,
    ProtocolUnavailable,
    Refused,
    UnknownKey,
)
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qmp import QmpProtocol, QmpProtocolBuilder
from quarterdeck.machines.registry import ProtocolRegistry
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import QemuProcess

PATIENT = QmpProtocolBuilder().with_timeout(60)
"""For answers that come at once, unless the machine is very busy."""


def guest_at(path: object) -> Guest:
    return Guest(name="vm1", endpoints={ProtocolType.QMP: UnixEndpoint(str(path))})


async def answers(protocol: QmpProtocol) -> bool:
    return (await protocol.query_version()).qemu.major > 0


@pytest.fixture
async def qmp(bare_machine: QemuProcess) -> AsyncIterator[QmpProtocol]:
    protocol = PATIENT.build()
    await protocol.connect(guest_at(bare_machine.qmp_path))
    yield protocol
    await protocol.disconnect()


async def test_a_protocol_of_the_registry_greets_and_asks(bare_machine: QemuProcess) -> None:
    """S2-1, S2-3, S2-5"""
    protocol = ProtocolRegistry.with_installed().create(ProtocolType.QMP)
    assert protocol.protocol_type() is ProtocolType.QMP
    assert not await protocol.is_connected()

    await protocol.connect(guest_at(bare_machine.qmp_path))
    assert await protocol.is_connected()
    await protocol.send(b'{"execute": "query-version"}')
    await protocol.disconnect()

    assert not await protocol.is_connected()


async def test_version_and_status_are_typed(qmp: QmpProtocol) -> None:
    """S2-8, S2-10"""
    version, status = await qmp.query_version(), await qmp.query_status()

    assert version.qemu.major >= 7
    assert str(version).count(".") == 2
    assert (status.running, status.status) == (False, "prelaunch")


async def test_a_command_returns_what_qemu_returned(qmp: QmpProtocol) -> None:
    """S2-7, S2-10"""
    commands = await qmp.execute_command("query-commands")
    kernel = await qmp.execute_command("qom-list-types", {"implements": "machine", "abstract": False})

    assert {"name": "send-key"} in commands
    assert any(found["name"] == "none-machine" for found in kernel)


async def test_keys_are_taken_together_and_alone_with_and_without_a_hold(qmp: QmpProtocol) -> None:
    """S2-9, S2-10"""
    await qmp.send_keys(["ctrl", "alt", "del"])
    await qmp.send_keys(["ctrl", "alt", "f1"], hold_ms=10)
    await qmp.send_key("a")
    await qmp.send_key("ret", hold_ms=10)


async def test_our_keys_are_those_of_qemu(qmp: QmpProtocol) -> None:
    """S2-9"""
    schema = await qmp.execute_command("query-qmp-schema")
    names = next(
        set(found["values"])
        for found in schema
        if found["meta-type"] == "enum" and {"kp_enter", "unmapped"} <= set(found["values"])
    )

    assert names - keys.NAMES == {"unmapped"}
    assert keys.NAMES - names <= {f"f{number}" for number in range(13, 25)}


async def test_an_unknown_key_is_refused_before_anything_is_sent(qmp: QmpProtocol) -> None:
    """S2-25F"""
    with pytest.raises(UnknownKey, match="no_such_key") as caught:
        await qmp.send_keys(["ctrl", "no_such_key"])

    assert (caught.value.key, caught.value.guest) == ("no_such_key", "vm1")


@pytest.mark.parametrize(("pressed", "hold_ms"), [([], None), (["a"], 0), (["a"], -5)])
async def test_keys_that_make_no_sense_are_refused(
    qmp: QmpProtocol, pressed: list[str], hold_ms: int | None
) -> None:
    """S2-25F"""
    with pytest.raises(InvalidInput):
        await qmp.send_keys(pressed, hold_ms)


async def test_a_refusal_carries_qemus_class_and_text(qmp: QmpProtocol) -> None:
    """S2-8, S2-25F"""
    with pytest.raises(Refused) as caught:
        await qmp.execute_command("no-such-command")

    assert caught.value.error_class == "CommandNotFound"
    assert "no-such-command" in caught.value.description
    assert await answers(qmp)


@pytest.mark.parametrize(
    "arguments", [{"a": float("nan")}, {"a": object()}, {"a": "\ud800"}, {"a": {1, 2}}, {"a": b"bytes"}]
)
async def test_arguments_that_are_no_json_do_not_reach_qemu(
    qmp: QmpProtocol, arguments: dict[str, object]
) -> None:
    """S2-25F"""
    with pytest.raises(InvalidInput):
        await qmp.execute_command("query-status", arguments)

    assert await answers(qmp)


@pytest.mark.parametrize("text", ["\ufffe", "a\ufdd0", "\U0010ffff"])
async def test_text_that_qemu_cannot_read_does_not_end_the_connection_of_others(
    qmp: QmpProtocol, text: str
) -> None:
    """S2-25F: QEMU hangs up over Unicode's noncharacters, and all who share the connection would be lost."""
    events = qmp.events()

    with pytest.raises(InvalidInput, match="noncharacters"):
        await qmp.execute_command("qom-list", {"path": text})
    with pytest.raises(InvalidInput, match="noncharacters"):
        await qmp.execute_command(text)
    await qmp.execute_command("cont")

    assert (await anext(events)).event == "RESUME"


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"return": {}}', b'{"execute": 5}', b"\xff", b'{"execute": "\xff"}']
)
async def test_raw_bytes_that_are_no_command_do_not_reach_qemu(qmp: QmpProtocol, content: bytes) -> None:
    """S2-7, S2-25F"""
    with pytest.raises(InvalidInput):
        await qmp.send(content)

    assert await answers(qmp)


async def test_receive_is_refused_with_a_way_out(qmp: QmpProtocol) -> None:
    """S2-19"""
    with pytest.raises(NotSupported, match="execute_command"):
        await qmp.receive()


async def test_events_come_as_a_stream(qmp: QmpProtocol) -> None:
    """S2-8, S2-10"""
    first, second = qmp.events(), qmp.events()
    await qmp.execute_command("cont")
    await qmp.execute_command("stop")

    assert [(await anext(first)).event for _ in range(2)] == ["RESUME", "STOP"]
    event = await anext(second)
    assert (event.event, event.members, event.lost) == ("RESUME", {}, 0)
    assert event.at_s > 1_600_000_000


async def test_a_stream_of_events_ends_with_the_connection(qmp: QmpProtocol) -> None:
    """S2-10"""
    events = qmp.events()
    await qmp.disconnect()

    assert [event async for event in events] == []
    with pytest.raises(ConnectionEnded):
        qmp.events()


async def test_callers_at_once_get_their_own_answers(qmp: QmpProtocol) -> None:
    """S2-6"""
    names = ["qom-list-types", "query-name", "no-such-command", "query-kvm", "query-commands"] * 20

    async def ask(name: str) -> object:
        try:
            return await qmp.execute_command(name)
        except Refused as refused:
            return refused.error_class

    together = await asyncio.gather(*map(ask, names))

    alone = {name: await ask(name) for name in set(names)}
    assert together == [alone[name] for name in names]


async def test_a_caller_who_leaves_takes_no_answer_of_anothers(qmp: QmpProtocol) -> None:
    """S2-6, S2-24F"""
    chance = random.Random(5)
    right = 0
    for number in range(300):
        leaver = asyncio.create_task(qmp.execute_command("query-commands"))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        leaver.cancel()
        # The description of a refusal is all that a bare machine repeats of what it was told.
        with pytest.raises(Refused) as caught:
            await qmp.execute_command(f"no-such-command-{number}")
        right += f"no-such-command-{number} " in caught.value.description
        await asyncio.wait({leaver})

    assert right == 300


async def test_what_an_earlier_client_asked_answers_nothing_of_ours(bare_machine: QemuProcess) -> None:
    """S2-6, S2-24F. QEMU does answer the next client, now and then."""
    for number in range(100):
        reader, writer = await asyncio.open_unix_connection(bare_machine.qmp_path)
        await reader.readline()
        writer.write(b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}')
        await reader.readline()
        for asked in range(6):
            writer.write(b'{"execute": "query-commands", "id": "__qmp#%05d"}' % asked)
        writer.transport.abort()

        protocol = PATIENT.build()
        await protocol.connect(guest_at(bare_machine.qmp_path))
        with pytest.raises(Refused, match=f"no-such-command-{number} "):
            await protocol.execute_command(f"no-such-command-{number}")
        await protocol.disconnect()


async def test_a_second_client_is_told_that_the_monitor_is_busy(
    bare_machine: QemuProcess, qmp: QmpProtocol
) -> None:
    """S2-25F"""
    second = QmpProtocolBuilder().with_timeout(0.2).build()

    with pytest.raises(MonitorBusy) as caught:
        await second.connect(guest_at(bare_machine.qmp_path))

    assert caught.value.retryable
    assert not await second.is_connected()
    assert await answers(qmp)
    await second.connect(guest_at(bare_machine.second_qmp_path))
    assert await second.is_connected()
    await second.disconnect()


async def test_more_clients_than_the_backlog_takes_are_told_as_well(
    bare_machine: QemuProcess, qmp: QmpProtocol
) -> None:
    """S2-25F"""
    others = [QmpProtocolBuilder().with_timeout(0.3).build() for _ in range(6)]

    outcomes = await asyncio.gather(
        *(other.connect(guest_at(bare_machine.qmp_path)) for other in others), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [MonitorBusy] * 6
    assert await answers(qmp)


async def test_a_monitor_is_free_again_after_a_disconnect(bare_machine: QemuProcess) -> None:
    """S2-5"""
    for _ in range(5):
        protocol = PATIENT.build()
        await protocol.connect(guest_at(bare_machine.qmp_path))
        assert await answers(protocol)
        await protocol.disconnect()
        await protocol.disconnect()


async def test_a_guest_that_quits_answers_first(bare_machine: QemuProcess, qmp: QmpProtocol) -> None:
    """S2-25F"""
    events = qmp.events()

    await qmp.execute_command("quit")

    assert (await anext(events)).event == "SHUTDOWN"
    with pytest.raises(ConnectionEnded):
        await anext(events)
    assert not await qmp.is_connected()
    await qmp.disconnect()


async def test_a_guest_that_vanishes_ends_every_request(bare_machine: QemuProcess, qmp: QmpProtocol) -> None:
    """S2-25F"""
    requests = [asyncio.create_task(qmp.execute_command("query-commands")) for _ in range(20)]
    commands = [asyncio.create_task(qmp.execute_command("stop")) for _ in range(20)]
    await asyncio.sleep(0)
    await bare_machine.kill()

    outcomes = await asyncio.gather(*requests, *commands, return_exceptions=True)

    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failures
    assert {type(failure) for failure in failures} <= {ConnectionEnded, ConnectFailed}
    await eventually(lambda: _is_disconnected(qmp))


async def _is_disconnected(qmp: QmpProtocol) -> bool:
    return not await qmp.is_connected()


async def test_the_next_request_finds_a_guest_that_came_back(
    bare_machine: QemuProcess, qmp: QmpProtocol
) -> None:
    """S2-25F"""
    await bare_machine.kill()
    await bare_machine.start()

    assert await answers(qmp)


async def test_a_guest_without_a_monitor_is_told_apart_from_one_that_is_down(
    bare_machine: QemuProcess,
) -> None:
    """S2-25F"""
    protocol = PATIENT.build()

    with pytest.raises(ProtocolUnavailable):
        await protocol.connect(Guest(name="vm1"))
    with pytest.raises(ConnectFailed, match="No such file"):
        await protocol.connect(guest_at(bare_machine.qmp_path.with_name("gone.sock")))
    with pytest.raises(ConnectFailed, match="not a socket"):
        await protocol.connect(guest_at(bare_machine.qmp_path.with_name("qemu.log")))
    with pytest.raises(ConnectFailed, match="too long"):
        await protocol.connect(guest_at("/" + "x" * 200))
    await bare_machine.kill()
    with pytest.raises(ConnectFailed, match="refused"):
        await protocol.connect(guest_at(bare_machine.qmp_path))
    with pytest.raises(ConnectionEnded, match="not connected"):
        await protocol.query_version()


async def test_a_guest_that_stays_away_has_no_events(bare_machine: QemuProcess, qmp: QmpProtocol) -> None:
    """S2-25F"""
    await bare_machine.kill()
    with pytest.raises(ConnectFailed):
        await qmp.query_version()

    with pytest.raises(ConnectionEnded):
        qmp.events()


async def test_answers_of_a_megabyte_are_no_trouble(qmp: QmpProtocol) -> None:
    """S2-8"""
    schema = await qmp.execute_command("query-qmp-schema")

    assert len(json.dumps(schema)) > 100_000
