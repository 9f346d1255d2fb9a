import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from quarterdeck.machines.discovery import SocketPattern, find_guests
from quarterdeck.machines.guest import ProtocolType, UnixEndpoint


class Sockets:
    """Listening sockets by their paths below one directory."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self._stack = stack

    def listen(self, *paths: str) -> None:
        for path in paths:
            full = self.root / path
            full.parent.mkdir(parents=True, exist_ok=True)
            listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(full))

    def pattern(self, text: str) -> SocketPattern:
        """`qmp=vms/{guest}/qmp.sock`, below the directory."""
        protocol, _, path = text.partition("=")
        return SocketPattern.parse(f"{protocol}={self.root}/{path}")


@pytest.fixture
def sockets(socket_dir: Path) -> Iterator[Sockets]:
    with ExitStack() as stack:
        yield Sockets(socket_dir, stack)


def test_guests_are_found_by_the_names_of_their_sockets(sockets: Sockets) -> None:
    """S2-20F"""
    sockets.listen("vms/web/qmp.sock", "vms/web/qga.sock", "vms/db/qmp.sock")

    found = find_guests(
        [sockets.pattern("qmp=vms/{guest}/qmp.sock"), sockets.pattern("qga=vms/{guest}/qga.sock")]
    )

    assert list(found) == ["db", "web"]
    assert found["web"].name == "web"
    assert found["web"].endpoints == {
        ProtocolType.QMP: UnixEndpoint(str(sockets.root / "vms/web/qmp.sock")),
        ProtocolType.QGA: UnixEndpoint(str(sockets.root / "vms/web/qga.sock")),
    }
    assert set(found["db"].endpoints) == {ProtocolType.QMP}


@pytest.mark.parametrize(
    ("pattern", "path", "guest"),
    [
        ("spice={guest}.spice", "vm1.spice", "vm1"),
        ("qmp=qmp-{guest}.sock", "qmp-vm1.sock", "vm1"),
        ("qmp=*/{guest}/qmp", "tenant/vm1/qmp", "vm1"),
        ("qmp=domain-*-{guest}/monitor.sock", "domain-17-vm1/monitor.sock", "vm1"),
        ("qmp={guest}/{guest}.sock", "vm1/vm1.sock", "vm1"),
        ("qmp=[x]/{guest}.sock", "[x]/vm1.sock", "vm1"),
        ("qmp={guest}.sock", ".hidden.sock", ".hidden"),
    ],
)
def test_a_pattern_takes_the_guest_out_of_the_path(
    sockets: Sockets, pattern: str, path: str, guest: str
) -> None:
    """S2-20F"""
    sockets.listen(path)

    assert set(find_guests([sockets.pattern(pattern)])) == {guest}


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("qmp={guest}/{guest}.sock", "vm1/vm2.sock"),
        ("qmp={guest}.sock", "deep/vm1.sock"),
        ("qmp=[x]/{guest}.sock", "x/vm1.sock"),
        ("qmp=qmp.{guest}", "qmpXvm1"),
    ],
)
def test_a_path_that_does_not_fit_is_no_guest(sockets: Sockets, pattern: str, path: str) -> None:
    """S2-20F"""
    sockets.listen(path)

    assert find_guests([sockets.pattern(pattern)]) == {}


def test_what_is_no_socket_is_no_guest(sockets: Sockets) -> None:
    """S2-20F, S2-25F"""
    (sockets.root / "vm1.sock").write_text("a file")
    (sockets.root / "vm2.sock").mkdir()
    (sockets.root / "vm3.sock").symlink_to("nowhere")

    assert find_guests([sockets.pattern("qmp={guest}.sock")]) == {}


def test_the_first_socket_of_a_protocol_is_taken(sockets: Sockets) -> None:
    """S2-20F"""
    sockets.listen("a/vm1.sock", "b/vm1.sock", "other/vm1.sock")

    found = find_guests([sockets.pattern("qmp=[ab]/{guest}.sock"), sockets.pattern("qmp=?/{guest}.sock")])

    assert found["vm1"].endpoints[ProtocolType.QMP] == UnixEndpoint(str(sockets.root / "a/vm1.sock"))


def test_a_directory_that_is_not_there_has_no_guests() -> None:
    assert find_guests([SocketPattern.parse("qmp=/nowhere/at/all/{guest}.sock")]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/{guest}.sock",
        "vnc=/run/{guest}.sock",
        "virtio_serial=/run/{guest}.sock",
        "qmp=run/{guest}.sock",
        "qmp=/run/qmp.sock",
        "qmp",
    ],
)
def test_a_text_that_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        SocketPattern.parse(text)
