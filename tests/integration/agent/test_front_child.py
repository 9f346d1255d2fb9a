"""The executor's hold on its front: which ends of a front end the agent, and which do not."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.front_child import FrontChild
from quarterdeck.agent.settings import AgentSettings, Role, ServerAddress
from quarterdeck.contracts.links import Carrier
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.join_token import JoinToken
from quarterdeck.wire.pki import CertificateAuthority

NOBODY = ServerAddress(Carrier.GRPC, "127.0.0.1", 9)


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    """Of an agent whose gateway is away."""
    authority = CertificateAuthority.load_or_create(tmp_path / "ca")
    return AgentSettings(
        servers=(NOBODY,),
        data_dir=tmp_path / "agent",
        agent_id="a1",
        join_token=str(JoinToken.create(authority.certificate_der)),
        environment={},
        role=Role.EXECUTOR,
    )


async def test_front_whose_settings_were_never_any_ends_the_agent(settings: AgentSettings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "identity.key").write_text("no key")

    with pytest.raises(BadAgentSettings) as refused:
        await FrontChild(settings).run()

    assert refused.value.field == "data_dir"


async def test_front_that_stood_is_started_again_whatever_came_over_its_files(
    settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: what runs goes on meanwhile, for the executor does."""
    monkeypatch.setattr("quarterdeck.agent.front_child._STOOD_S", 0.0)
    child = FrontChild(settings)
    running = asyncio.create_task(child.run())
    identity = settings.data_dir / "identity.key"
    await eventually(lambda: identity.exists() and identity.read_bytes())
    key, first = identity.read_bytes(), child.pid
    assert first is not None

    identity.write_text("no key")
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: child.pid not in (first, None))
    second = child.pid
    await eventually(lambda: child.pid not in (second, None))
    assert not running.done()
    identity.write_bytes(key)

    await eventually(lambda: child.pid is not None)
    await child.stop()
    await running
