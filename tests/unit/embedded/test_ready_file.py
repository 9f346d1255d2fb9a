"""The ready file: atomic, private, and honest about what it is not."""

import stat
from pathlib import Path

import pytest

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.embedded import ready_file
from quarterdeck.embedded.ready_file import LocalAgent, ReadySystem

SYSTEM = ReadySystem(
    api="http://127.0.0.1:8080",
    token="qd_secret",
    grpc="127.0.0.1:20035",
    quic="127.0.0.1:8474",
    ca="/data/pki/ca.pem",
    join_token="qdj_x.y",
    nats="nats://127.0.0.1:4222",
    redis="redis://127.0.0.1:6379/0",
    data_dir="/data",
    pids={"nats": 1, "redis": 2},
    agents={"agent-1": LocalAgent(carrier="quic", pid=3)},
)


def test_written_file_is_read_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """It carries the API token."""
    path = tmp_path / "ready.json"

    ready_file.write(path, SYSTEM)

    assert ready_file.read(path) == SYSTEM
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rewriting_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """A reader sees the old content or the new one."""
    path = tmp_path / "ready.json"
    ready_file.write(path, SYSTEM)
    before = path.stat().st_ino

    ready_file.write(path, SYSTEM)

    assert path.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [path]


def test_absent_file_means_that_no_system_is_ready(tmp_path: Path) -> None:
    """Removing it twice is fine, too."""
    path = tmp_path / "ready.json"

    ready_file.remove(path)

    assert ready_file.read(path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"api": 1}', '{"api": "http://x"'])
def test_file_of_another_kind_is_named_in_the_error(tmp_path: Path, content: str) -> None:
    """Never half a configuration."""
    path = tmp_path / "ready.json"
    path.write_text(content)

    with pytest.raises(DecodeError, match=r"ready\.json"):
        ready_file.read(path)


def test_place_where_no_file_can_be_is_named_in_the_error(tmp_path: Path) -> None:
    """Such as a data directory that is a file."""
    (tmp_path / "file").touch()

    with pytest.raises(DecodeError, match="file/ready"):
        ready_file.read(tmp_path / "file" / "ready.json")
