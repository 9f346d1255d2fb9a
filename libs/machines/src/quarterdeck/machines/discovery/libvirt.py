"""The guests that run under a libvirt daemon, as their live XML tells. Called by the agent.

The library is optional, see libvirt_connection.py.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import structlog

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.machines.discovery.domain_xml import guest_of
from quarterdeck.machines.errors import ConnectFailed, TimedOut
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.libvirt_connection import LibvirtConnection
from quarterdeck.machines.protocol import DEFAULT_TIMEOUT_S

log = structlog.get_logger()


async def libvirt_guests(uri: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> dict[str, Guest]:
    """Every running domain by name. `uri`: such as `qemu:///system`.

    Raises ProtocolUnavailable without libvirt-python, ConnectFailed, TimedOut; each names the URI for the guest.
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await LibvirtConnection.open(uri, guest=uri, protocol=ProtocolType.QMP)
            try:
                documents = await connection.run(lambda libvirtd: _documents(libvirtd, uri))
            finally:
                connection.close()
    except TimeoutError as error:
        text = f"libvirt did not answer in {timeout_s:g} s"
        raise TimedOut(text, guest=uri, protocol=ProtocolType.QMP) from error
    return dict(_guests(documents, uri))


def _documents(libvirtd: Any, uri: str) -> list[str]:
    """The XML of each running domain; blocks. Raises ConnectFailed."""
    import libvirt

    documents = []
    try:
        for domain in libvirtd.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            try:
                documents.append(domain.XMLDesc(0))
            except libvirt.libvirtError:
                continue  # it stopped meanwhile
    except libvirt.libvirtError as error:
        raise ConnectFailed(str(error), guest=uri, protocol=ProtocolType.QMP) from error
    return documents


def _guests(documents: list[str], uri: str) -> Iterator[tuple[str, Guest]]:
    for document in documents:
        try:
            guest = guest_of(document, uri=uri)
        except DecodeError as error:
            log.warning("libvirt.domain_skipped", uri=uri, cause=error.message)
        else:
            yield guest.name, guest
