import pytest

from quarterdeck.machines.discovery import SerialPort, with_serial_ports
from quarterdeck.machines.discovery.qom import endpoint_of
from quarterdeck.machines.guest import Endpoint, Guest, ProtocolType, TcpEndpoint, UnixEndpoint


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("disconnected:unix:/run/echo.sock,server=on", UnixEndpoint("/run/echo.sock")),
        ("unix:/run/echo.sock,server=on", UnixEndpoint("/run/echo.sock")),
        ("unix:/run/echo.sock,server", UnixEndpoint("/run/echo.sock")),
        ("unix:/run/a,b.sock,server=on", UnixEndpoint("/run/a,b.sock")),
        ("disconnected:tcp:127.0.0.1:4444,server=on", TcpEndpoint("127.0.0.1", 4444)),
        ("tcp:127.0.0.1:4444,server=on <-> 127.0.0.1:53252", TcpEndpoint("127.0.0.1", 4444)),
        ("disconnected:tcp:[::1]:4444,server=on", TcpEndpoint("::1", 4444)),
        ("unix:/run/we-listen.sock", None),
        ("disconnected:unix:abstract,server=on", None),
        ("pty:/dev/pts/3", None),
        ("null", None),
        ("", None),
    ],
)
def test_the_file_name_of_a_chardev_tells_where_to_connect(filename: str, expected: Endpoint | None) -> None:
    """S2-21F"""
    assert endpoint_of(filename) == expected


def _port(name: str) -> SerialPort:
    return SerialPort(name=name, endpoint=UnixEndpoint(f"/run/{name}"), is_open=True, is_taken=False)


def test_ports_become_channels_and_the_agents_port_its_endpoint() -> None:
    """S2-21F"""
    guest = Guest(name="vm1", channels={"org.example.old": UnixEndpoint("/run/old")})

    found = with_serial_ports(guest, [_port("org.example.echo"), _port("org.qemu.guest_agent.0")])

    assert set(found.channels) == {"org.example.old", "org.example.echo"}
    assert found.endpoints[ProtocolType.QGA] == UnixEndpoint("/run/org.qemu.guest_agent.0")


def test_an_agent_that_is_known_already_stays_where_it_is() -> None:
    guest = Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint("/run/qga.sock")})

    found = with_serial_ports(guest, [_port("org.qemu.guest_agent.0")])

    assert found.endpoints == guest.endpoints
