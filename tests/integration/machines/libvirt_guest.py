"""A guest of a real libvirt, in a process of its own: a program for test_libvirt.py, which reads what it prints.

The QEMU driver of libvirt runs inside this process (`qemu:///embed`), so there is no daemon to install or to start. It
must not run as root, where it wants a user that only the daemon's package brings; so root becomes nobody, after all
modules were loaded that nobody may not read. libvirt's Python library is Debian's, and stays out of the tests' process.

Arguments: an empty directory, and the directory of the guest's image. Prints one JSON object.
"""

import asyncio
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any, Final

sys.path.append("/usr/lib/python3/dist-packages")

import libvirt

from quarterdeck.machines.discovery import libvirt_guests
from quarterdeck.machines.errors import ConnectFailed, NotSupported, Refused
from quarterdeck.machines.guest import Guest, LibvirtEndpoint, ProtocolType
from quarterdeck.machines.qga import QgaProtocolBuilder, libvirt_channel
from quarterdeck.machines.qmp import QmpProtocolBuilder, libvirt_monitor
from quarterdeck.machines.virtio_serial import JsonLines, VirtioSerialProtocolBuilder
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines.booted_guest import BOOTED_WITHIN_S, ECHO_CHANNEL, READY

LOADED_WHILE_ROOT: Final = (libvirt_channel, libvirt_monitor)
NOBODY: Final = 65534
PATIENCE_S: Final = 60

CONFIGURATION: Final = 'stdio_handler = "file"\nsecurity_driver = "none"\n'
"""Without virtlogd, and without confinement, neither of which is here."""

DOMAIN: Final = """
<domain type='qemu'>
  <name>vm1</name>
  <memory unit='MiB'>256</memory>
  <cpu mode='maximum'/>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{directory}/vmlinuz</kernel>
    <initrd>{directory}/initramfs.cpio</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 mitigations=off</cmdline>
  </os>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>{qemu}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path='{directory}/console.log'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='unix'>
      <source mode='bind' path='{directory}/echo.sock'/><target type='virtio' name='{echo}'/>
    </channel>
    <graphics type='spice' autoport='no'><listen type='socket' socket='{directory}/spice.sock'/></graphics>
  </devices>
</domain>
"""


def become_nobody(directory: Path) -> None:
    """Where libvirt keeps its files, too."""
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os.environ["HOME"] = os.environ["XDG_RUNTIME_DIR"] = str(directory)
    (directory / "etc").mkdir()
    (directory / "etc" / "qemu.conf").write_text(CONFIGURATION)


def run_events_of_libvirt() -> None:
    """The embedded driver hears its guests through them."""
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, daemon=True).start()


async def facts_of(guest: Guest, console: Path) -> dict[str, Any]:
    """What every protocol that libvirt stands in front of does."""
    facts: dict[str, Any] = {}
    qmp = QmpProtocolBuilder().with_timeout(PATIENCE_S).build()
    await qmp.connect(guest)
    facts["status"] = (await qmp.query_status()).status
    facts["version"] = (await qmp.query_version()).qemu.major
    try:
        await qmp.execute_command("no-such-command")
    except Refused as refused:
        facts["refused"] = refused.error_class
    try:
        qmp.events()
    except NotSupported as unsupported:
        facts["events"] = unsupported.code
    await qmp.send_keys(["shift", "a"], hold_ms=1)

    await eventually(lambda: READY in console.read_text(errors="replace"), within_s=BOOTED_WITHIN_S)
    qga = QgaProtocolBuilder().with_timeout(PATIENCE_S).build()
    await qga.connect(guest)
    await qga.ping()
    ended = await qga.exec_shell("echo from the guest; exit 3")
    facts["agent"] = [ended.decode_stdout(), ended.exit_code]

    channel = VirtioSerialProtocolBuilder().with_channel(ECHO_CHANNEL).with_timeout(PATIENCE_S).build()
    await channel.connect(guest)
    facts["echo"] = (await JsonLines(channel).request({"text": "over the channel"}))["text"]
    for protocol in (channel, qga, qmp):
        await protocol.disconnect()
    return facts


async def facts_of_nobody(uri: str) -> str:
    """What is said of a domain that is not there."""
    endpoint = LibvirtEndpoint(uri, "nobody")
    try:
        await (
            QmpProtocolBuilder().build().connect(Guest(name="nobody", endpoints={ProtocolType.QMP: endpoint}))
        )
    except ConnectFailed as failed:
        return failed.code
    return "connected"


async def main(directory: Path) -> None:
    uri = f"qemu:///embed?root={directory}"
    qemu = shutil.which("qemu-system-x86_64")
    run_events_of_libvirt()
    daemon = libvirt.open(uri)
    domain = daemon.createXML(DOMAIN.format(directory=directory, qemu=qemu, echo=ECHO_CHANNEL))
    try:
        guests = await libvirt_guests(uri, timeout_s=PATIENCE_S)
        facts = await facts_of(guests["vm1"], directory / "console.log")
        facts["guests"] = sorted(guests)
        facts["endpoints"] = {name: str(endpoint) for name, endpoint in guests["vm1"].endpoints.items()}
        facts["channels"] = {name: str(endpoint) for name, endpoint in guests["vm1"].channels.items()}
        facts["nobody"] = await facts_of_nobody(uri)
    finally:
        domain.destroy()
    facts["afterwards"] = sorted(await libvirt_guests(uri, timeout_s=PATIENCE_S))
    print(json.dumps(facts))


if __name__ == "__main__":
    scratch, image = Path(sys.argv[1]), Path(sys.argv[2])
    for name in ("vmlinuz", "initramfs.cpio"):
        shutil.copyfile(image / name, scratch / name)
    become_nobody(scratch)
    asyncio.run(main(scratch))
