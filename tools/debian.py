"""Makes sure that the Debian packages that tests need are installed. `just test` calls it before the tests.

Owns the list. Quick when everything is there. Installing takes root, or sudo without a password; without either it
names what is missing and fails, and changes nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PROGRAMS: Final = {
    "busybox": "busybox-static",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "cpio": "cpio",
    "qemu-ga": "qemu-guest-agent",
    "qemu-system-x86_64": "qemu-system-x86",
}
"""Program that a test starts, or that goes into the guest of `guest_image.py` → Debian package that brings it."""

LIBRARIES: Final = {
    "python3/dist-packages/libvirt.py": "python3-libvirt",
    "*/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
}
"""File below /usr/lib that a test loads, as a glob → Debian package that brings it."""

APT: Final = ("apt-get", "-o", "DPkg::Lock::Timeout=120")

LIB: Final = Path("/usr/lib")
DAEMONS: Final = "/usr/sbin:/sbin"
"""Where a plain user's PATH does not look."""


def find_program(name: str) -> str | None:
    """Its path, whoever installed it."""
    return shutil.which(name) or shutil.which(name, path=DAEMONS)


def missing_packages() -> list[str]:
    """Packages whose program or library is nowhere."""
    programs = [package for program, package in PROGRAMS.items() if find_program(program) is None]
    libraries = [package for pattern, package in LIBRARIES.items() if not any(LIB.glob(pattern))]
    return programs + libraries


def as_root() -> tuple[str, ...] | None:
    """What to put before a command to run it as root; None where we may not."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ()
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ("sudo", "-n")
    return None


def update(root: tuple[str, ...]) -> None:
    """Reads the archive's lists anew. Raises CalledProcessError."""
    subprocess.run([*root, *APT, "update", "-qq"], stdout=subprocess.DEVNULL, check=True)


def install(packages: list[str], root: tuple[str, ...]) -> None:
    """Raises CalledProcessError."""
    update(root)
    quietly = (*root, "env", "DEBIAN_FRONTEND=noninteractive", *APT, "install", "-qq")
    subprocess.run([*quietly, "--no-install-recommends", *packages], stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    """Returns the exit code."""
    packages = missing_packages()
    if not packages:
        return 0
    root = as_root()
    if root is None:
        print(
            f"The tests need these Debian packages, and installing takes root: {' '.join(packages)}",
            file=sys.stderr,
        )
        return 1
    print(f"Installing Debian packages that the tests need: {' '.join(packages)}", flush=True)
    install(packages, root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
