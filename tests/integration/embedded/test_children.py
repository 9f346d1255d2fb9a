"""Child processes: ends are noticed, stops are bounded, logs are kept."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from quarterdeck.embedded.children import Child, ChildSettings


def _settings(tmp_path: Path, script: str) -> ChildSettings:
    return ChildSettings(
        name="sample", argv=("/bin/sh", "-c", script), cwd=tmp_path, log_path=tmp_path / "logs" / "sample.log"
    )


async def _logged(child: Child, text: str) -> None:
    while text not in child.log_tail():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.005)


async def test_wait_returns_the_exit_code_to_every_waiter(tmp_path: Path) -> None:
    """A supervisor and a test may wait for the same child."""
    child = Child.spawn(_settings(tmp_path, "exit 7"))

    assert list(await asyncio.gather(child.wait(), child.wait())) == [7, 7]
    assert child.exit_code == 7
    assert not child.running


async def test_stop_lets_the_child_clean_up(tmp_path: Path) -> None:
    """SIGTERM comes first."""
    child = Child.spawn(
        _settings(tmp_path, "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    )
    await _logged(child, "ready")

    assert await child.stop() == 3
    assert child.log_tail().endswith("bye\n")


async def test_stop_kills_what_ignores_it_with_its_whole_group(tmp_path: Path) -> None:
    """A child that hangs in its clean-up, and what it started, are gone after the grace."""
    child = Child.spawn(_settings(tmp_path, "trap '' TERM; sleep 1000 & echo grandchild $!; wait; wait"))
    await _logged(child, "grandchild")
    grandchild = psutil.Process(int(child.log_tail().split()[-1]))

    assert await child.stop(grace_s=0.05) == -signal.SIGKILL
    _, alive = await asyncio.to_thread(psutil.wait_procs, [grandchild], timeout=10)
    assert alive == []


async def test_restarted_child_keeps_the_log_of_its_predecessor(tmp_path: Path) -> None:
    """The reason of a crash is not overwritten by the restart."""
    settings = _settings(tmp_path, "echo one life")

    for _ in range(2):
        await Child.spawn(settings).wait()

    assert settings.log_path.read_text(encoding="utf-8") == "one life\n" * 2


async def test_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    """Ctrl-C on the operator's terminal reaches the supervisor alone."""
    child = Child.spawn(_settings(tmp_path, "sleep 1000"))

    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    await child.kill()


async def test_stopping_an_ended_child_changes_nothing(tmp_path: Path) -> None:
    """Supervisors race with crashes."""
    child = Child.spawn(_settings(tmp_path, "exit 0"))
    await child.wait()

    assert await child.stop() == 0
    assert await child.kill() == 0


def test_missing_executable_is_an_os_error(tmp_path: Path) -> None:
    """The caller knows what it wanted to start; the error need not."""
    with pytest.raises(FileNotFoundError):
        Child.spawn(
            ChildSettings(
                name="sample", argv=("/nonexistent",), cwd=tmp_path, log_path=tmp_path / "sample.log"
            )
        )
