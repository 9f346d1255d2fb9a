"""Where an agent looks for guests. Built by main.py, a part of AgentSettings; checked by guests.py at the start."""

import msgspec


class GuestSettings(msgspec.Struct, frozen=True, kw_only=True):
    sockets: tuple[str, ...] = ()
    """`PROTOCOL=PATH`, such as `qmp=/run/vms/{guest}/qmp.sock`: qmp, qga or spice, `{guest}` one part of the path."""
    libvirt_uri: str | None = None
    """Ask this libvirt daemon, too."""
    spice_password_files: str | None = None
    """`/etc/vms/{guest}.spice`: the file that holds a guest's SPICE password. None: no server asks for one."""
    timeout_s: float = 10.0
    """For one connect, and for one request; not for a program in a guest."""
    look_interval_s: float = 2.0
    """How soon a guest that came or went is noticed."""
    idle_s: float = 60.0
    """A connection that nobody uses for so long is closed: QEMU lets in one client at a time, which may be somebody
    else."""

    @property
    def configured(self) -> bool:
        return bool(self.sockets) or self.libvirt_uri is not None
