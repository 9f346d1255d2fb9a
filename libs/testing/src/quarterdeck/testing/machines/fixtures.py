"""Virtual machines and guest agents as fixtures. Loaded by `quarterdeck.testing.plugin`.

    bare_machine        QEMU without a machine: a monitor that answers after 30 ms
    guest_agent_process qemu-ga on this host: pause it, kill it
    host_guest_agent    its socket
    guest_image         what a guest is booted from, for a test that starts one of its own
    booted_guest        one guest per session: leave it as you found it

Sockets live in a short directory of their own: a path of a Unix socket has at most 107 bytes. Source: unix(7).
"""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from quarterdeck.testing.machines.booted_guest import BootedGuest
from quarterdeck.testing.machines.guest_agent import HostGuestAgent
from quarterdeck.testing.machines.qemu import NO_MACHINE, QemuProcess
from quarterdeck.testing.session_loop import run_in_new_loop


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """An empty directory with a short path."""
    with tempfile.TemporaryDirectory(prefix="qd-") as directory:
        yield Path(directory)


@pytest.fixture
async def bare_machine(socket_dir: Path) -> AsyncIterator[QemuProcess]:
    """A QEMU of the test's own, with two monitors and nothing else."""
    async with QemuProcess.running(socket_dir, *NO_MACHINE) as qemu:
        yield qemu


@pytest.fixture
async def guest_agent_process(socket_dir: Path) -> AsyncIterator[HostGuestAgent]:
    """A qemu-ga of the test's own, which runs commands on this very machine."""
    async with HostGuestAgent.running(socket_dir) as agent:
        yield agent


@pytest.fixture
def host_guest_agent(guest_agent_process: HostGuestAgent) -> Path:
    """The socket of a qemu-ga of the test's own."""
    return guest_agent_process.socket_path


@pytest.fixture(scope="session")
def guest_image(pytestconfig: pytest.Config) -> Path:
    """The directory that `tools/guest_image.py` fills. Give it to `BootedGuest.running` for a guest to break."""
    image = pytestconfig.rootpath / "build" / "guest"
    assert (image / "made-of").exists(), (
        "no guest to boot: run `just test`, or tools/debian.py and tools.guest_image"
    )
    return image


@pytest.fixture(scope="session")
def booted_guest(guest_image: Path) -> Iterator[BootedGuest]:
    """One guest per session (and xdist worker), booted by the first test that asks. Leave it running."""
    with tempfile.TemporaryDirectory(prefix="qd-") as directory:
        guest = BootedGuest(Path(directory), guest_image)
        try:
            run_in_new_loop(guest.start())
            yield guest
        finally:
            run_in_new_loop(guest.kill())
