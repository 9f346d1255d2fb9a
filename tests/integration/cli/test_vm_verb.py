"""`qd vm` against a real system, a real qemu-ga and a real QEMU."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterdeck.testing.deck import Deck
from quarterdeck.testing.machines import HostGuestAgent, QemuProcess
from tests.integration.cli.conftest import Qd

pytestmark = pytest.mark.xdist_group("embedded")

_SEEN_WITHIN_S = 60.0
"""A bound for an agent that never comes, not an expectation."""


@pytest.fixture
def hypervisor(
    deck: Deck, qd: Qd, guest_agent_process: HostGuestAgent, bare_machine: QemuProcess, tmp_path: Path
) -> Iterator[None]:
    """An agent `hv1` with the guests `vm1`, in which programs run, and `vm2`, which has a QEMU."""
    for guest, socket_path in (("vm1", guest_agent_process.socket_path), ("vm2", bare_machine.qmp_path)):
        (tmp_path / "vms" / guest).mkdir(parents=True)
        (tmp_path / "vms" / guest / socket_path.name).symlink_to(socket_path)
    ready = deck.ready
    agent = subprocess.Popen(
        (
            *(sys.executable, "-m", "quarterdeck.agent", "--agent-id", "hv1"),
            *("--data-dir", str(tmp_path / "hv1"), "--server", f"grpc://{ready['grpc']}"),
            *("--join-token", ready["join_token"]),
            *("--guest-sockets", f"qga={tmp_path}/vms/{{guest}}/qga.sock"),
            *("--guest-sockets", f"qmp={tmp_path}/vms/{{guest}}/qmp.sock"),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + _SEEN_WITHIN_S
        while "hv1/vm1" not in qd("vm", "ls").text:
            assert time.monotonic() < deadline_s, "the agent did not come"
        yield
    finally:
        agent.terminate()
        agent.wait()
        qd("agents", "revoke", "hv1")


@pytest.mark.usefixtures("hypervisor")
def test_machines_behind_an_agent_are_listed_used_and_asked(qd: Qd) -> None:
    """S2-23F: ls, exec, keys and qmp."""
    assert json.loads(qd("vm", "ls", "--format", "json").text) == ["hv1/vm1", "hv1/vm2"]
    assert qd("vm", "exec", "hv1/vm1", "echo $((6 * 7)); exit 5", expect=5).out == b"42\n"
    assert qd("vm", "exec", "hv1/vm1", "--", "printf", "%s|", "a b", "c").out == b"a b|c|"
    assert qd("run", "-t", "hv1/vm1", "cat /etc/hostname").code == 0
    status = json.loads(qd("vm", "qmp", "hv1/vm2", "query-status").text)
    assert status["status"] == "prelaunch"
    listed = qd("vm", "qmp", "hv1/vm2", "qom-list", '{"path": "/machine"}')
    assert "peripheral" in listed.text
    assert qd("vm", "keys", "hv1/vm2", "ctrl", "alt", "del", "--hold", "20ms").out == b""


@pytest.mark.usefixtures("hypervisor")
def test_what_a_machine_declines_is_told(qd: Qd) -> None:
    """S2-25F"""
    assert "CommandNotFound" in qd("vm", "qmp", "hv1/vm2", "no-such-command", expect=2).said
    assert "'hyper'" in qd("vm", "keys", "hv1/vm2", "hyper", expect=2).said
    assert "no way to guest vm1 by spice" in qd("vm", "keys", "--spice", "hv1/vm1", "a", expect=2).said
    assert "no guest vm3" in qd("vm", "exec", "hv1/vm3", "true", expect=2).said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("exec", "hv1", "true"), "no virtual machine"),
        (("keys", "hv1/vm1"), "which keys?"),
        (("qmp", "hv1/vm1", "quit", "[]"), "no JSON object"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_sent(
    qd: Qd, arguments: tuple[str, ...], said: str
) -> None:
    assert said in qd("vm", *arguments, expect=1).said
