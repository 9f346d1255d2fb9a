"""Which brokers `qd rebuild` works on."""

from pathlib import Path

import pytest

from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.verbs.rebuild import Brokers, brokers
from quarterdeck.embedded import ready_file
from quarterdeck.embedded.layout import DataDir
from quarterdeck.embedded.ready_file import ReadySystem

USUAL = Brokers("nats://127.0.0.1:4222", "redis://127.0.0.1:6379/0")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where an embedded system says that it runs."""
    directory = DataDir.at(tmp_path / "running")
    directory.create()
    system = ReadySystem(
        api="",
        token="",
        grpc="",
        quic="",
        ca="",
        join_token="",
        nats="nats://local:1",
        redis="redis://local:2/0",
        data_dir=str(directory.root),
        pids={},
    )
    ready_file.write(directory.ready_file, system)
    return directory.root


def test_local_system_is_found_without_flags(data_dir: Path) -> None:
    """I12: its brokers listen where nobody but its data directory knows."""
    assert brokers(None, None, data_dir) == Brokers("nats://local:1", "redis://local:2/0")


def test_without_a_local_system_the_usual_addresses_are_taken(tmp_path: Path) -> None:
    assert brokers(None, None, tmp_path) == USUAL


@pytest.mark.parametrize(
    ("nats_url", "redis_url"),
    [("nats://far:1", None), (None, "redis://far:2/0"), ("nats://far:1", "unix:///s")],
)
def test_log_and_state_of_two_systems_are_never_mixed(
    data_dir: Path, nats_url: str | None, redis_url: str | None
) -> None:
    """Whoever names one of them does not mean the local system."""
    found = brokers(nats_url, redis_url, data_dir)

    assert found == Brokers(nats_url or USUAL.nats_url, redis_url or USUAL.redis_url)


def test_address_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="redis://host:port"):
        brokers(None, "localhost:6379", tmp_path)
