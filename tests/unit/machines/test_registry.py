import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from threading import Barrier

import pytest

from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.registry import ENTRY_POINTS, ProtocolRegistry, UnknownProtocol
from quarterdeck.machines.virtio_serial import VirtioSerialProtocol, VirtioSerialProtocolBuilder


def test_a_registered_builder_makes_protocols_of_its_type() -> None:
    """S2-2, S2-3"""
    registry = ProtocolRegistry()
    registry.register(VirtioSerialProtocolBuilder().with_timeout(3.5))

    first = registry.create(ProtocolType.VIRTIO_SERIAL)
    second = registry.create("virtio_serial")

    assert isinstance(first, VirtioSerialProtocol)
    assert first.timeout_s == 3.5
    assert first is not second


@pytest.mark.parametrize("protocol_type", list(ProtocolType))
def test_every_protocol_of_ours_is_found_by_its_entry_point(protocol_type: ProtocolType) -> None:
    """S2-3, S2-4"""
    made = ProtocolRegistry.with_installed().create(protocol_type)

    assert made.protocol_type() is protocol_type


def test_a_second_builder_for_a_type_is_refused() -> None:
    """S2-3"""
    registry = ProtocolRegistry()
    registry.register(VirtioSerialProtocolBuilder())

    with pytest.raises(ValueError, match="virtio_serial"):
        registry.register(VirtioSerialProtocolBuilder())


def test_a_registered_builder_goes_before_an_installed_one() -> None:
    """S2-3"""
    registry = ProtocolRegistry.with_installed()
    ours = VirtioSerialProtocolBuilder().with_timeout(1)
    registry.register(ours)

    assert registry.lookup(ProtocolType.VIRTIO_SERIAL) is ours


def test_a_type_that_nobody_makes_is_an_error_of_its_own() -> None:
    """S2-3, S2-25F"""
    with pytest.raises(UnknownProtocol, match="vnc"):
        ProtocolRegistry.with_installed().create("vnc")


def test_threads_that_register_at_once_leave_one_builder() -> None:
    """S2-3"""
    registry, together = ProtocolRegistry(), Barrier(8)

    def register(_: int) -> bool:
        together.wait()
        try:
            registry.register(VirtioSerialProtocolBuilder())
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        accepted = list(threads.map(register, range(8)))

    assert accepted.count(True) == 1


def test_threads_that_ask_at_once_get_the_same_installed_builder() -> None:
    """S2-3"""
    point = EntryPoint(
        "virtio_serial", "quarterdeck.machines.virtio_serial:VirtioSerialProtocolBuilder", ENTRY_POINTS
    )
    registry, together = ProtocolRegistry([point]), Barrier(8)

    def lookup(_: int) -> object:
        together.wait()
        return registry.lookup(ProtocolType.VIRTIO_SERIAL)

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lookup, range(8)))

    assert len(found) == 1


def test_neither_registry_nor_discovery_loads_a_protocol_before_it_is_asked_for_one() -> None:
    """S2-3"""
    program = """
import sys
import quarterdeck.machines.discovery
from quarterdeck.machines.registry import ProtocolRegistry

registry = ProtocolRegistry.with_installed()
heavy = {"qemu.qmp", "cryptography", "libvirt"} & set(sys.modules)
assert not heavy, heavy
registry.create("qmp")
assert "qemu.qmp" in sys.modules
assert "cryptography" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
