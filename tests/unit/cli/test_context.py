"""Which server a verb talks to, and what it tells whom."""

from pathlib import Path

import pytest

from quarterdeck.cli.context import Server
from quarterdeck.cli.errors import NoServer, UsageError
from quarterdeck.embedded import ready_file
from quarterdeck.embedded.layout import DataDir
from quarterdeck.embedded.ready_file import ReadySystem


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where an embedded system says that it runs."""
    directory = DataDir.at(tmp_path)
    directory.create()
    system = ReadySystem(
        api="http://127.0.0.1:8080",
        token="qd_local",
        grpc="",
        quic="",
        ca="",
        join_token="",
        nats="",
        redis="",
        data_dir=str(tmp_path),
        pids={},
    )
    ready_file.write(directory.ready_file, system)
    return tmp_path


def test_local_system_is_found_without_flags(data_dir: Path) -> None:
    """`qd up` in one terminal, `qd run` in another."""
    connection = Server(data_dir=data_dir).resolve()

    assert (connection.url, connection.token) == ("http://127.0.0.1:8080", "qd_local")


def test_flags_win_over_the_local_system(data_dir: Path) -> None:
    """An operator who names a server gets that one."""
    connection = Server(url="https://deck.example", token="qd_other", data_dir=data_dir).resolve()

    assert (connection.url, connection.token) == ("https://deck.example", "qd_other")


def test_local_token_is_never_sent_to_another_server(data_dir: Path) -> None:
    """S0-27: --url alone must not leak it."""
    assert Server(url="https://deck.example", data_dir=data_dir).resolve().token is None


def test_token_may_lie_in_a_file(data_dir: Path) -> None:
    """Not on a command line that others can read."""
    (data_dir / "token").write_text("qd_filed\n")

    assert Server(token=f"@{data_dir}/token", data_dir=data_dir).resolve().token == "qd_filed"


def test_no_server_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    """The first error that a new user meets."""
    with pytest.raises(NoServer, match="qd up"):
        Server(data_dir=tmp_path).resolve()


def test_variables_set_to_nothing_are_not_set(data_dir: Path) -> None:
    """`QD_URL= QD_TOKEN= qd ls`, as scripts have it."""
    connection = Server(url="", token="", data_dir=data_dir).resolve()

    assert (connection.url, connection.token) == ("http://127.0.0.1:8080", "qd_local")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "deck.example", "ftp://deck.example", "http://", "http://a:b"]
)
def test_address_of_another_form_is_refused_before_anybody_is_asked(url: str, data_dir: Path) -> None:
    """The message shows the form; that nobody answers would be untrue."""
    with pytest.raises(UsageError, match="http://host:port"):
        Server(url=url, token="qd_other", data_dir=data_dir).resolve()
