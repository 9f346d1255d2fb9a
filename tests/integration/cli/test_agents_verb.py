"""`qd agents add` and `qd agents revoke` against a real system."""

import pytest

from tests.integration.cli.conftest import Qd

pytestmark = pytest.mark.xdist_group("embedded")


def test_an_agent_of_another_protocol_is_registered_with_its_secret_and_revoked(qd: Qd) -> None:
    """S1-28, S0-27"""
    added = qd(
        "agents", "add", "vps-900", "--dialect", "agent_service", "--vps-db-id", "900", "--name", "Old"
    )
    assert len(added.text.strip()) > 30
    assert "vps-900" in qd("agents").text
    assert qd("agents", "add", "flow-1", "--dialect", "quicflow", "--client-id", "client-901").text == ""
    taken = qd("agents", "add", "flow-2", "--dialect", "quicflow", "--client-id", "client-901", expect=1)
    assert "registered for another agent" in taken.said
    bad = qd("agents", "add", "flow-3", "--dialect", "deepflow", "--ip", "10.0.0.1", expect=1)
    assert "mac" in bad.said
    for agent_id in ("vps-900", "flow-1"):
        qd("agents", "revoke", agent_id)
    told = qd("agents").text.splitlines()
    assert [line.split()[1] for line in told if line.startswith(("vps-900", "flow-1"))] == ["revoked"] * 2
    assert "vps-900" not in qd("run", "--all", "echo hello").text, "a revoked agent is nobody's target"
    again = qd("agents", "revoke", "nobody", expect=1)
    assert "no such agent" in again.said
