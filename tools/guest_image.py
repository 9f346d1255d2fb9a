"""Makes the small Linux guest that tests boot: a kernel and an initramfs in build/guest. `just test` calls it.

Owns what is in the guest: our files of tools/guest, busybox, qemu-ga with its libraries, and the drivers it needs. The
kernel is the one that Debian's metapackage names; it is unpacked, and never installed here. Takes no root as long as
the archive's lists are there. Quick when the guest is there and was made of the same files. For amd64 alone.
"""

import hashlib
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tools.debian import APT, as_root, find_program, update

ROOT: Final = Path(__file__).resolve().parent.parent
GUEST_DIR: Final = ROOT / "build" / "guest"
OUR_FILES: Final = ROOT / "tools" / "guest"

KERNEL: Final = "linux-image-cloud-amd64"
"""A metapackage: depends on the newest kernel for virtual machines, whose own name holds its version."""

MODULES: Final = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
    "evdev",
)
"""In the order in which they need each other."""

FOLDERS: Final = ("dev", "modules", "proc", "root", "run", "sys", "tmp")
"""That nothing else brings."""


def main() -> int:
    """Returns the exit code."""
    stamp = GUEST_DIR / "made-of"
    made_of = ingredients()
    if stamp.exists() and stamp.read_text(encoding="ascii") == made_of:
        return 0
    print(f"Making the guest that tests boot, in {GUEST_DIR.relative_to(ROOT)}", flush=True)
    stamp.unlink(missing_ok=True)
    GUEST_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="quarterdeck-guest-") as scratch:
        kernel, root = Path(scratch, "kernel"), Path(scratch, "root")
        if not unpack_kernel(Path(scratch), kernel):
            print(
                f"The tests need Debian's {KERNEL}, and the archive's lists are absent or out of date: "
                "`apt-get update` takes root",
                file=sys.stderr,
            )
            return 1
        fill(root, kernel)
        pack(root, GUEST_DIR / "initramfs.cpio")
        shutil.copyfile(next(kernel.glob("boot/vmlinuz-*")), GUEST_DIR / "vmlinuz")
    stamp.write_text(made_of, encoding="ascii")
    return 0


def program(name: str) -> Path:
    """Where it is installed. Raises FileNotFoundError: `debian.py` did not run."""
    found = find_program(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return Path(found)


def ingredients() -> str:
    """A digest of all that decides what the guest is; not of the kernel, which may be any."""
    digest = hashlib.sha256()
    ours = sorted(path for path in OUR_FILES.rglob("*") if path.is_file())
    for path in (Path(__file__), *ours, program("busybox"), program("qemu-ga")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def unpack_kernel(scratch: Path, target: Path) -> bool:
    """Downloads the kernel's package and unpacks it into `target`. False: the lists do not lead to it."""
    downloaded = download_kernel(scratch)
    if not downloaded and (root := as_root()) is not None:
        update(root)
        downloaded = download_kernel(scratch)
    for package in downloaded:
        subprocess.run(["dpkg-deb", "--extract", package, target], check=True)
    return bool(downloaded)


def download_kernel(scratch: Path) -> list[Path]:
    """The package's file in `scratch`; nothing when apt does not know it, or no longer finds it in the archive."""
    depends = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False)
    package = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
    if package is None:
        return []
    # Root would hand the download to the user _apt, who cannot write here.
    here = ("-o", "APT::Sandbox::User=root")
    subprocess.run([*APT, *here, "-qq", "download", package[1]], cwd=scratch, check=False)
    return list(scratch.glob("*.deb"))


def fill(root: Path, kernel: Path) -> None:
    """Lays out the guest's root directory in `root`, which must not exist."""
    shutil.copytree(OUR_FILES, root)
    for folder in FOLDERS:
        (root / folder).mkdir()
    install_program(program("qemu-ga"), root, Path("usr/sbin/qemu-ga"))
    busybox = program("busybox")
    install_program(busybox, root, Path("bin/busybox"))
    applets = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        link = root / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")
    (root / "init").symlink_to("/bin/busybox")
    for number, name in enumerate(MODULES):
        install_module(kernel, name, root / "modules" / f"{number}-{name}.ko")


def install_program(source: Path, root: Path, place: Path) -> None:
    """Puts a program into `root` at `place`, and the libraries that it loads where its loader looks for them."""
    listing = subprocess.run(["ldd", source], capture_output=True, text=True, check=False)
    libraries = [Path(path) for path in re.findall(r"(/\S+) \(0x", listing.stdout)]  # none: linked statically
    for origin, target in ((source, place), *((path, path.relative_to("/")) for path in libraries)):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin, root / target)


def install_module(kernel: Path, name: str, target: Path) -> None:
    """Takes a driver out of the kernel's package. One that is built into the kernel has no file, and needs none."""
    for path in kernel.glob(f"lib/modules/*/kernel/**/{name}.ko*"):
        content = path.read_bytes()
        target.write_bytes(lzma.decompress(content) if path.suffix == ".xz" else content)


def pack(root: Path, archive: Path) -> None:
    """Writes `root` as an initramfs: a cpio archive that belongs to root, uncompressed, which boots quickest."""
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with archive.open("wb") as output:
        subprocess.run(
            ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"],
            cwd=root,
            input=names.encode(),
            stdout=output,
            check=True,
        )


if __name__ == "__main__":
    sys.exit(main())
