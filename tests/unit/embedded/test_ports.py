"""Ports stay the same across restarts, where they are free."""

import socket
from pathlib import Path

from quarterdeck.embedded.ports import PortBook, is_free


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_last_port_is_given_again_after_a_restart(tmp_path: Path) -> None:
    """Agents and scripts remember addresses."""
    port = _free_port()
    PortBook(tmp_path / "ports.json").remember("api", port)

    assert PortBook(tmp_path / "ports.json").last("api") == port


def test_taken_port_is_given_up(tmp_path: Path) -> None:
    """The machine changed; the system starts all the same."""
    book = PortBook(tmp_path / "ports.json")
    with socket.create_server(("127.0.0.1", 0)) as other:
        book.remember("nats", other.getsockname()[1])

        assert book.last("nats") == 0


def test_unknown_name_has_no_last_port(tmp_path: Path) -> None:
    """A first run lets everybody choose."""
    assert PortBook(tmp_path / "ports.json").last("api") == 0


def test_udp_and_tcp_are_asked_apart() -> None:
    """A QUIC gateway and an HTTP server may have the same number."""
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        assert not is_free(port, udp=True)


def test_damaged_port_file_is_forgotten(tmp_path: Path) -> None:
    """Nothing is lost but old ports."""
    path = tmp_path / "ports.json"
    path.write_text('{"api": 99999, "nats": "x", "redis": 6379')

    assert PortBook(path).last("api") == 0
