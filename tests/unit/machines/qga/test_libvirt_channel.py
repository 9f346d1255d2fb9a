"""QGA through libvirt, with a stand-in for its library: what each of its errors means. A real one is elsewhere."""

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from quarterdeck.machines.errors import (
    AgentSilent,
    ConnectFailed,
    ConnectionEnded,
    GuestPaused,
    MachineError,
    ProtocolUnavailable,
    ProtocolViolation,
    Refused,
)
from quarterdeck.machines.guest import Guest, LibvirtEndpoint, ProtocolType
from quarterdeck.machines.qga import QgaProtocol, QgaProtocolBuilder, Request

GUEST = Guest(name="vm1", endpoints={ProtocolType.QGA: LibvirtEndpoint("qemu:///system", "vm1")})

CODES = {
    "VIR_ERR_INTERNAL_ERROR": 1,
    "VIR_ERR_RPC": 39,
    "VIR_ERR_NO_DOMAIN": 42,
    "VIR_ERR_OPERATION_INVALID": 55,
    "VIR_ERR_OPERATION_TIMEOUT": 68,
    "VIR_ERR_ARGUMENT_UNSUPPORTED": 74,
    "VIR_ERR_OPERATION_UNSUPPORTED": 84,
    "VIR_ERR_AGENT_UNRESPONSIVE": 86,
    "VIR_ERR_AGENT_UNSYNCED": 97,
}
"""Source: libvirt, virterror.h."""


class LibvirtError(Exception):
    """As libvirt.libvirtError."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self._name = name

    def get_error_code(self) -> int:
        return CODES[self._name]


class Daemon:
    """As libvirt.virConnect, with one domain. `answers`: what its agent says, or libvirt of it, one after the other."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[dict[str, Any], int]] = []
        self.opened = 0

    def open(self, uri: str) -> "Daemon":
        assert uri == "qemu:///system"
        self.opened += 1
        return self

    def lookupByName(self, name: str) -> str:
        if name != "vm1":
            raise LibvirtError("VIR_ERR_NO_DOMAIN", "Domain not found")
        return name

    def close(self) -> None: ...

    def command(self, domain: str, command: str, timeout_s: int, flags: int) -> str:
        assert (domain, flags) == ("vm1", 0)
        self.asked.append((json.loads(command), timeout_s))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


Installer = Callable[..., Daemon]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Installer:
    """Has `import libvirt` find a daemon with these answers."""

    def put(*answers: str | Exception) -> Daemon:
        daemon = Daemon(*answers)
        libvirt, libvirt_qemu = ModuleType("libvirt"), ModuleType("libvirt_qemu")
        vars(libvirt).update(CODES)
        vars(libvirt).update(
            libvirtError=LibvirtError, open=daemon.open, registerErrorHandler=lambda *_: None
        )
        vars(libvirt_qemu).update(qemuAgentCommand=daemon.command)
        monkeypatch.setitem(sys.modules, "libvirt", libvirt)
        monkeypatch.setitem(sys.modules, "libvirt_qemu", libvirt_qemu)
        return daemon

    return put


async def connected() -> QgaProtocol:
    protocol = QgaProtocolBuilder().with_timeout(60).build()
    await protocol.connect(GUEST)
    return protocol


async def test_requests_of_a_burst_go_through_the_agent_command(install: Installer) -> None:
    """S2-11, S2-12. libvirt gives up before we do, since it knows better why."""
    daemon = install('{"return": 1}', '{"error": {"class": "GenericError", "desc": "no"}}', '{"return": {}}')
    protocol = await connected()

    answers = await protocol.burst([Request("guest-sync", {"id": 1}), Request("guest-x")])
    await protocol.ping()

    assert answers[0].value(int) == 1
    assert answers[1].refusal is not None
    assert daemon.asked == [
        ({"execute": "guest-sync", "arguments": {"id": 1}}, 59),
        ({"execute": "guest-x"}, 59),
        ({"execute": "guest-ping"}, 59),
    ]
    await protocol.disconnect()
    assert not await protocol.is_connected()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("VIR_ERR_INTERNAL_ERROR", "unable to execute QEMU agent command: no such file", Refused),
        ("VIR_ERR_OPERATION_INVALID", "domain is not running", GuestPaused),
        ("VIR_ERR_AGENT_UNRESPONSIVE", "guest agent is not responding", AgentSilent),
        ("VIR_ERR_AGENT_UNSYNCED", "guest agent replied with wrong id", AgentSilent),
        ("VIR_ERR_OPERATION_TIMEOUT", "cannot acquire state change lock", AgentSilent),
        ("VIR_ERR_ARGUMENT_UNSUPPORTED", "QEMU guest agent is not configured", ProtocolUnavailable),
        ("VIR_ERR_RPC", "internal error: client socket is closed", ConnectionEnded),
    ],
)
async def test_error_of_libvirt_is_one_of_ours_and_the_next_command_works(
    install: Installer, name: str, text: str, expected: type[MachineError]
) -> None:
    """S2-11, S2-25F."""
    install(LibvirtError(name, text), '{"return": 1}')
    protocol = await connected()

    with pytest.raises(MachineError, match=text) as failure:
        await protocol.execute("guest-exec")

    assert type(failure.value) is expected
    assert await protocol.execute("guest-sync", {"id": 1}) == 1
    await protocol.disconnect()


@pytest.mark.parametrize(
    "text",
    ["The command guest-x has not been found", "Command guest-x has been disabled for this instance"],
)
async def test_command_that_the_agent_lacks_is_told_apart(install: Installer, text: str) -> None:
    """S2-11. libvirt hands on the text alone."""
    install(LibvirtError("VIR_ERR_INTERNAL_ERROR", f"unable to execute QEMU agent command 'guest-x': {text}"))
    protocol = await connected()

    with pytest.raises(Refused) as refusal:
        await protocol.execute("guest-x")

    assert refusal.value.error_class == "CommandNotFound"
    await protocol.disconnect()


async def test_connection_that_ended_is_made_anew(install: Installer) -> None:
    """S2-11, S2-25F. What changes nothing is asked again."""
    daemon = install(LibvirtError("VIR_ERR_RPC", "daemon restarted"), '{"return": {}}')
    protocol = await connected()

    await protocol.ping()

    assert daemon.opened == 2
    await protocol.disconnect()


@pytest.mark.parametrize("answer", ["not JSON", "[1]", '{"return": 1, "error": {"class": "x", "desc": "y"}}'])
async def test_what_is_no_answer_is_a_violation(install: Installer, answer: str) -> None:
    """S2-25F."""
    install(answer, '{"return": 1}')
    protocol = await connected()

    with pytest.raises(ProtocolViolation):
        await protocol.execute("guest-sync", {"id": 1})

    assert await protocol.execute("guest-sync", {"id": 1}) == 1
    await protocol.disconnect()


async def test_domain_that_does_not_exist_cannot_be_connected(install: Installer) -> None:
    """S2-25F."""
    install()
    guest = Guest(name="vm2", endpoints={ProtocolType.QGA: LibvirtEndpoint("qemu:///system", "vm2")})

    with pytest.raises(ConnectFailed, match="not found"):
        await QgaProtocolBuilder().build().connect(guest)


async def test_guest_of_libvirt_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """S2-25F."""
    monkeypatch.setitem(sys.modules, "libvirt", None)

    with pytest.raises(ProtocolUnavailable, match="not installed"):
        await QgaProtocolBuilder().build().connect(GUEST)
