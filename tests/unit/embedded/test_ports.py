"""Ports stay the same across restarts, where they are free."""

import socket
from pathlib import Path

from quarterdeck.embedded.ports import PortBook, free_port, is_free


def test_last_port_is_chosen_again_after_a_restart(tmp_path: Path) -> None:
    """Agents and scripts remember addresses."""
    port = free_port()
    PortBook(tmp_path / "ports.json").remember("api", port)

    later = PortBook(tmp_path / "ports.json")

    assert later.choose("api", 0) == port
    assert later.last("api") == port


def test_taken_port_is_given_up(tmp_path: Path) -> None:
    """The machine changed; the system starts all the same."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        book = PortBook(tmp_path / "ports.json")
        book.remember("nats", taken)

        assert book.last("nats") == 0
        assert book.choose("nats", 0) not in (0, taken)


def test_wanted_port_wins_over_the_last_one(tmp_path: Path) -> None:
    """An operator's flag is an order."""
    book = PortBook(tmp_path / "ports.json")
    book.remember("api", free_port())

    assert book.choose("api", 8080) == 8080


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
