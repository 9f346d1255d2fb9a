"""Real virtual machines and guest agents for tests, without KVM, root or a network.

    qemu.py             a QEMU process with two monitors; the bare one has no machine at all
    guest_agent.py      qemu-ga on this host, on a Unix socket: an agent without a guest
    booted_guest.py     a small Linux that boots in seconds, with every way to a guest
    sockets.py          when a Unix socket of another process takes clients
    fixtures.py         all of them as pytest fixtures

Programs come from Debian (`tools/debian.py`), the guest's kernel and root from `tools/guest_image.py`.
"""

from quarterdeck.testing.machines.booted_guest import BootedGuest, KeyEvent
from quarterdeck.testing.machines.guest_agent import HostGuestAgent
from quarterdeck.testing.machines.qemu import QemuProcess

__all__ = ["BootedGuest", "HostGuestAgent", "KeyEvent", "QemuProcess"]
