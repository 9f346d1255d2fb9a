"""An executor with a gateway's side to talk to it, for every test of this directory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.settings import ExecutorSettings
from tests.unit.agent.conversation import Conversation


@pytest.fixture
def settings(tmp_path: Path) -> ExecutorSettings:
    return ExecutorSettings(
        scratch_dir=tmp_path / "scratch",
        journal_dir=tmp_path / "journal",
        spool_dir=tmp_path / "spool",
        environment={"PATH": "/usr/bin:/bin", "INHERITED": "yes"},
        working_directory=str(tmp_path),
        max_parallel=8,
    )


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
async def executor(settings: ExecutorSettings, handlers: Handlers) -> AsyncIterator[Executor]:
    executor = Executor(settings, handlers)
    await executor.start()
    yield executor
    await executor.stop(grace_s=0.2)


@pytest.fixture
async def link(executor: Executor) -> AsyncIterator[Conversation]:
    """An open link to the executor."""
    conversation = Conversation(executor)
    await conversation.open()
    yield conversation
    await conversation.cut()
