import pytest

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.machines.discovery.domain_xml import MAX_XML_BYTES, guest_of
from quarterdeck.machines.guest import Endpoint, LibvirtEndpoint, ProtocolType, TcpEndpoint, UnixEndpoint

URI = "qemu:///system"

CHANNELS = """
<channel type='unix'>
  <source mode='bind' path='/run/libvirt/qemu/channel/3-vm1/org.qemu.guest_agent.0'/>
  <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
  <address type='virtio-serial' controller='0' bus='0' port='1'/>
</channel>
<channel type='unix'>
  <source mode='bind' path='/run/libvirt/qemu/channel/3-vm1/org.example.echo'/>
  <target type='virtio' name='org.example.echo' state='disconnected'/>
</channel>
<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0' state='disconnected'/></channel>
<channel type='unix'>
  <source mode='connect' path='/run/elsewhere'/><target type='virtio' name='org.example.theirs'/>
</channel>
<channel type='unix'><target type='virtio' name='org.example.not-live'/></channel>
"""


def domain(devices: str = "", *, name: str = "vm1", more: str = "") -> str:
    """Live XML, as virsh dumpxml shows it."""
    return f"<domain type='kvm' id='3'><name>{name}</name><devices>{devices}</devices>{more}</domain>"


def test_ports_are_channels_and_libvirt_keeps_monitor_and_agent() -> None:
    """S2-11, S2-20F, S2-21F"""
    guest = guest_of(domain(CHANNELS), uri=URI)

    assert guest.name == "vm1"
    assert guest.channels == {
        "org.example.echo": UnixEndpoint("/run/libvirt/qemu/channel/3-vm1/org.example.echo")
    }
    through_libvirt = LibvirtEndpoint(URI, "vm1")
    assert guest.endpoints == {ProtocolType.QMP: through_libvirt, ProtocolType.QGA: through_libvirt}


def test_a_guest_without_the_agents_port_has_no_agent() -> None:
    """S2-11"""
    assert set(guest_of(domain(), uri=URI).endpoints) == {ProtocolType.QMP}


@pytest.mark.parametrize("option", ["-qmp", "-qmp-pretty"])
def test_a_monitor_past_libvirt_is_ours(option: str) -> None:
    """S2-20F"""
    more = f"""<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
      <qemu:arg value='-name'/><qemu:arg value='x'/>
      <qemu:arg value='{option}'/><qemu:arg value='unix:/run/vm1.sock,server=on,wait=off'/>
    </qemu:commandline>"""

    assert guest_of(domain(more=more), uri=URI).endpoints[ProtocolType.QMP] == UnixEndpoint("/run/vm1.sock")


@pytest.mark.parametrize(
    ("graphics", "expected"),
    [
        ("<graphics type='spice' port='5901' listen='127.0.0.1'/>", TcpEndpoint("127.0.0.1", 5901)),
        ("<graphics type='spice' port='5901' listen='0.0.0.0'/>", TcpEndpoint("127.0.0.1", 5901)),
        ("<graphics type='spice' port='5901' listen='::'/>", TcpEndpoint("::1", 5901)),
        (
            "<graphics type='spice'><listen type='socket' socket='/run/spice.sock'/></graphics>",
            UnixEndpoint("/run/spice.sock"),
        ),
        ("<graphics type='spice' port='-1' autoport='yes'/>", None),
        ("<graphics type='spice' tlsPort='5902'/>", None),
        ("<graphics type='vnc' port='5900'/>", None),
    ],
)
def test_spice_is_found_where_it_listens(graphics: str, expected: Endpoint | None) -> None:
    """S2-22F"""
    assert guest_of(domain(graphics), uri=URI).endpoints.get(ProtocolType.SPICE) == expected


def test_entities_are_refused_before_they_grow() -> None:
    """S2-25F"""
    laughs = "<!DOCTYPE d [<!ENTITY a0 'ha'>" + "".join(
        f"<!ENTITY a{number + 1} '{f'&a{number};' * 10}'>" for number in range(20)
    )

    with pytest.raises(DecodeError, match="document type"):
        guest_of(f"{laughs}]>{domain(name='&a20;')}", uri=URI)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<domain>",
        "<domain/>",
        "<network><name>default</name></network>",
        domain(name=""),
        domain() + domain(),
        "<q:domain><name>x</name></q:domain>",
        "\udc80",
        "\x00",
    ],
)
def test_what_is_no_domain_is_refused(xml: str) -> None:
    """S2-25F"""
    with pytest.raises(DecodeError):
        guest_of(xml, uri=URI)


def test_more_xml_than_any_domain_has_is_not_read() -> None:
    """S2-25F"""
    with pytest.raises(DecodeError, match="more than"):
        guest_of(domain(name="x" * MAX_XML_BYTES), uri=URI)


def test_depth_is_no_trouble() -> None:
    """S2-25F"""
    depth = 50_000

    guest = guest_of(domain("<a>" * depth + "</a>" * depth), uri=URI)

    assert guest.name == "vm1"
