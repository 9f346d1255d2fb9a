"""A guest out of the live XML that libvirt gives of a domain. Pure; called by libvirt.py.

The XML is libvirt's, and partly its users': it is read with a bound to its size, and without document types, whose
entities can make a gigabyte out of a line. Source: libvirt, docs/formatdomain; docs/drvqemu for QEMU's own arguments.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.machines.discovery.qom import AGENT_PORT
from quarterdeck.machines.guest import (
    Endpoint,
    Guest,
    LibvirtEndpoint,
    ProtocolType,
    TcpEndpoint,
    UnixEndpoint,
)

MAX_XML_BYTES: Final = 4 * 1024 * 1024
"""Of one domain; large ones have 100 KB."""
_OF_QEMU: Final = {"qemu": "http://libvirt.org/schemas/domain/qemu/1.0"}
_MONITORS: Final = ("-qmp", "-qmp-pretty")
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def guest_of(xml: str, *, uri: str) -> Guest:
    """`xml`: of virDomainGetXMLDesc, while the domain runs; `uri`: of the daemon. Raises DecodeError.

    libvirt keeps its monitor and the agent's port to itself: these are a LibvirtEndpoint, unless the domain was given a
    monitor of its own. The password of SPICE is not in the XML.
    """
    domain = _parsed(xml)
    name = domain.findtext("name")
    if domain.tag != "domain" or not name:
        raise DecodeError("expected <domain> with a <name>")
    ports = dict(_serial_ports(domain))
    through_libvirt = LibvirtEndpoint(uri, name)
    endpoints: dict[ProtocolType, Endpoint] = {ProtocolType.QMP: _own_monitor(domain) or through_libvirt}
    if ports.pop(AGENT_PORT, None) is not None:
        endpoints[ProtocolType.QGA] = through_libvirt
    if (spice := _spice(domain)) is not None:
        endpoints[ProtocolType.SPICE] = spice
    return Guest(name=name, endpoints=endpoints, channels=ports)


def _serial_ports(domain: Element) -> Iterator[tuple[str, Endpoint]]:
    """`<channel type='unix'>` with a socket that QEMU listens on, by the name that the guest sees."""
    for channel in domain.iterfind("./devices/channel[@type='unix']"):
        source, target = channel.find("source"), channel.find("target[@type='virtio']")
        if source is None or target is None or source.get("mode") != "bind":
            continue
        if (path := source.get("path")) and (name := target.get("name")):
            yield name, UnixEndpoint(path)


def _own_monitor(domain: Element) -> Endpoint | None:
    """A second monitor, given to QEMU past libvirt: `-qmp unix:/run/vm1.sock,server=on,wait=off`."""
    given = domain.iterfind("./qemu:commandline/qemu:arg", _OF_QEMU)
    arguments = [argument.get("value", "") for argument in given]
    for option, value in pairwise(arguments):
        if option in _MONITORS and value.startswith("unix:/"):
            return UnixEndpoint(value.removeprefix("unix:").partition(",")[0])
    return None


def _spice(domain: Element) -> Endpoint | None:
    for graphics in domain.iterfind("./devices/graphics[@type='spice']"):
        for listen in graphics.iterfind("listen[@type='socket']"):
            if path := listen.get("socket"):
                return UnixEndpoint(path)
        port = graphics.get("port", "")
        if port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16:
            host = graphics.get("listen") or "127.0.0.1"
            return TcpEndpoint(_ANY_ADDRESS.get(host, host), int(port))
    return None


def _parsed(xml: str) -> Element:
    """Raises DecodeError."""
    if len(xml) > MAX_XML_BYTES:
        raise DecodeError(f"a domain's XML of more than {MAX_XML_BYTES} bytes")
    tree = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = lambda tag, attributes: tree.start(_qualified(tag), attributes)
    parser.EndElementHandler = lambda tag: tree.end(_qualified(tag))
    parser.CharacterDataHandler = tree.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise DecodeError(f"a domain's XML is malformed: {error}") from error
    return tree.close()


def _qualified(tag: str) -> str:
    """As xml.etree writes it, `{namespace}tag`; expat writes `namespace}tag`."""
    return "{" + tag if "}" in tag else tag


def _refuse_document_type(*_declaration: object) -> None:
    raise DecodeError("a domain's XML has a document type, which libvirt never writes")
