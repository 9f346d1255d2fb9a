"""From payloads to what a guest is asked for, and from a guest's failures to what a command's end says."""

import json
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.executor.shell import InvalidPayload
from quarterdeck.agent.guests.absence import Absence
from quarterdeck.agent.guests.mishaps import not_reached, while_asked
from quarterdeck.agent.guests.plans import GuestCall, GuestExecution, UnknownToGuests, plan_for_guest
from quarterdeck.contracts.guests import GUEST_COMMAND_TYPES, QgaExecEnd, QmpExecute, SendKeys, VirtioSend
from quarterdeck.machines.errors import (
    AgentSilent,
    ConnectFailed,
    ConnectionEnded,
    GuestPaused,
    MachineError,
    MonitorBusy,
    NotSupported,
    ProtocolViolation,
    Refused,
    TimedOut,
    UnknownKey,
    WrongPassword,
)
from quarterdeck.machines.guest import ProtocolType


def _plan(command_type: str, payload: object) -> GuestExecution | GuestCall:
    return plan_for_guest("vm1", command_type, json.dumps(payload).encode())


def _error(kind: type[MachineError]) -> MachineError:
    return kind("no", guest="vm1", protocol=ProtocolType.QGA)


@pytest.mark.parametrize(
    ("command_type", "payload", "expected"),
    [
        ("shell", {"command": "id"}, GuestExecution(guest="vm1", argv=("/bin/sh", "-c", "id"))),
        ("shell", {"script": "#!/bin/sh\nid"}, GuestExecution(guest="vm1", script="#!/bin/sh\nid")),
        ("exec", {"argv": ["id", "-u"]}, GuestExecution(guest="vm1", argv=("id", "-u"))),
        ("qga.shell", {"command": "id"}, GuestExecution(guest="vm1", argv=("/bin/sh", "-c", "id"))),
        (
            "qga.exec",
            {
                "path": "id",
                "arg": ["-u"],
                "env": ["A=b=c", "D="],
                "input_data": "aGk=",
                "capture_output": False,
            },
            GuestExecution(
                guest="vm1",
                argv=("id", "-u"),
                environment={"A": "b=c", "D": ""},
                input_content=b"hi",
                keeps_output=False,
                tells_end=True,
            ),
        ),
        ("qmp.query_status", {}, GuestCall(guest="vm1", command_type="qmp.query_status")),
        (
            "qmp.execute",
            {"command": "eject", "arguments": {"id": "cd0"}},
            GuestCall(
                guest="vm1",
                command_type="qmp.execute",
                asked=QmpExecute(command="eject", arguments={"id": "cd0"}),
            ),
        ),
        (
            "spice.send_keys",
            {"keys": ["a"], "hold_ms": 5},
            GuestCall(guest="vm1", command_type="spice.send_keys", asked=SendKeys(keys=["a"], hold_ms=5)),
        ),
        (
            "virtio.send",
            {"channel": "org.example.c", "message": None},
            GuestCall(
                guest="vm1",
                command_type="virtio.send",
                asked=VirtioSend(channel="org.example.c", message=None),
            ),
        ),
    ],
)
def test_payload_becomes_a_plan(
    command_type: str, payload: object, expected: GuestExecution | GuestCall
) -> None:
    """S2-13, S2-23F"""
    assert _plan(command_type, payload) == expected


@pytest.mark.parametrize(
    ("command_type", "payload"),
    [
        ("qga.exec", {"path": ""}),
        ("qga.exec", {"path": "a\0b"}),
        ("qga.exec", {"path": "id", "env": ["=b"]}),
        ("qga.exec", {"path": "id", "env": ["A=\0"]}),
        ("qga.exec", {"path": "id", "input_data": "no base64"}),
        ("qga.shell", {"command": "  "}),
        ("qmp.execute", {"command": ""}),
        ("qmp.query_status", {"verbose": True}),
        ("qmp.send_keys", {"keys": []}),
        ("qmp.send_keys", {"keys": ["a"], "hold_ms": 0}),
        ("virtio.send", {"channel": "c", "message": 1, "text": "1"}),
        ("virtio.send", {"channel": "c", "text": "two\nlines"}),
        ("virtio.send", {"channel": "", "text": ""}),
    ],
)
def test_payload_that_does_not_fit_is_invalid(command_type: str, payload: object) -> None:
    with pytest.raises(InvalidPayload, match="invalid payload: "):
        _plan(command_type, payload)


@given(st.sampled_from(GUEST_COMMAND_TYPES), st.binary(max_size=80))
def test_no_payload_does_more_than_be_invalid(command_type: str, payload: bytes) -> None:
    """S2-24F"""
    try:
        plan_for_guest("vm1", command_type, payload)
    except InvalidPayload:
        pass


def test_types_of_the_agents_own_are_unknown_to_guests() -> None:
    """A handler of the host would run on the host."""
    for command_type in ("list_commands", "list_namespaces", "catalogue", "restart", ""):
        with pytest.raises(UnknownToGuests):
            _plan(command_type, {})


@pytest.mark.parametrize(
    ("error", "reason", "unknown"),
    [
        (_error(GuestPaused), "guest_lost", True),
        (_error(AgentSilent), "guest_lost", True),
        (_error(TimedOut), "guest_lost", True),
        (_error(ConnectionEnded), "guest_lost", True),
        (_error(ProtocolViolation), "guest_lost", True),
        (_error(ConnectFailed), "guest_unreachable", False),
        (_error(MonitorBusy), "guest_unreachable", False),
        (_error(NotSupported), "invalid_payload", False),
        (Refused("GenericError", "no", guest="vm1", protocol=ProtocolType.QMP), "guest_refused", False),
        (UnknownKey("hyper", guest="vm1", protocol=ProtocolType.QMP), "invalid_payload", False),
    ],
)
def test_what_a_guest_had_is_unknown_unless_it_certainly_did_nothing(
    error: MachineError, reason: str, unknown: bool
) -> None:
    """S2-25F"""
    assert while_asked(error) == (reason, unknown)


@pytest.mark.parametrize("kind", [ConnectFailed, ConnectionEnded, TimedOut, AgentSilent, WrongPassword])
def test_guest_that_was_not_reached_did_nothing(kind: type[MachineError]) -> None:
    assert not_reached(_error(kind)) == ("guest_unreachable", False)
    assert not_reached(_error(GuestPaused)) == ("guest_paused", False)
    assert while_asked(_error(kind), harmless=True) == ("guest_unreachable", False)


def test_running_command_waits_for_a_paused_guest_but_not_long_for_a_dead_one() -> None:
    absence, paused, dead = Absence(), _error(GuestPaused), _error(ConnectionEnded)
    for now_s in range(0, 100_000, 1000):
        assert absence.seen(paused, now_s) > 0

    absence.seen(dead, 0.0)
    absence.seen(dead, 4.9)
    absence.over()
    absence.seen(dead, 5.1)
    with pytest.raises(ConnectionEnded):
        absence.seen(dead, 10.2)
    with pytest.raises(Refused):
        Absence().seen(Refused("GenericError", "PID unknown", guest="vm1", protocol=ProtocolType.QGA), 0.0)


def test_agent_without_guests_loads_nothing_that_speaks_with_them() -> None:
    """What an executor keeps in memory is measured; most of them have no guests."""
    program = (
        "import sys, quarterdeck.agent.runner as r;"
        "print([m for m in sys.modules if m.startswith(('quarterdeck.machines', 'qemu'))])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert told.stdout == "[]\n"


def test_the_end_of_qga_exec_has_every_field() -> None:
    """S2-14"""
    assert {field.name for field in msgspec.structs.fields(QgaExecEnd)} == {
        "exited",
        "exit_code",
        "signal",
        "out_truncated",
        "err_truncated",
    }
