"""Makes sure that the Debian packages that tests need are installed. `just test` calls it before the tests.

Owns the list. Quick when everything is there. Installing takes root, or sudo without a password; without either it
names what is missing and fails, and changes nothing.
"""

import os
import shutil
import subprocess
import sys
from functools import partial
from typing import Final

PROGRAMS: Final = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
}
"""Program that a test starts → Debian package that brings it."""

APT: Final = ("apt-get", "-o", "DPkg::Lock::Timeout=120")


def missing_packages() -> list[str]:
    """Packages whose program is not on PATH, whoever installed the others."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


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


def install(packages: list[str], root: tuple[str, ...]) -> None:
    """Raises CalledProcessError."""
    run = partial(subprocess.run, stdout=subprocess.DEVNULL, check=True)
    run([*root, *APT, "update", "-qq"])
    quietly = (*root, "env", "DEBIAN_FRONTEND=noninteractive", *APT, "install", "-qq")
    run([*quietly, "--no-install-recommends", *packages])


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
