"""Where the output of commands lies in one guest while they run: a directory that only the agent's user can enter.

Made in the guest when it is first needed, under a name that nobody can guess, and again when it has vanished. Finds out
what the guest can do: without a shell, or with an agent that may not open files, output cannot be live (live.py).
"""

import asyncio
import errno
import os
import re
import secrets
from collections.abc import Sequence
from enum import Enum, auto
from itertools import count
from typing import Final, NamedTuple

import structlog

from quarterdeck.machines.errors import MachineError, Refused
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.qga.output_file import OutputFile
from quarterdeck.machines.qga.qga import SHELL, QgaProtocol
from quarterdeck.machines.qga.structures import GuestExec, GuestExecStatus
from quarterdeck.machines.qga.wrapper import PREPARE, Ground

log = structlog.get_logger()

DEFAULT_PARENT: Final = "/tmp"  # noqa: S108 - in the guest; the directory in it has an unguessable name and mode 0700

_REMOVE: Final = 'rm -rf -- "$@"'
_QUIET_S: Final = 0.5
_MANY_FILES: Final = 32
_LARGE_BYTES: Final = 64 * 1024
"""`rm` costs the guest as much as a short command. So small files wait until no command has ended for a moment."""
_PATIENCE_S: Final = 20.0
"""With our own small programs. One that hangs, in a dead file system say, must not hold up all commands after it."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]")
_DISABLED: Final = "CommandNotFound"
"""What an agent answers for a command that it does not have, or that the guest's administrator switched off."""
_VANISHED: Final = os.strerror(errno.ENOENT)
"""How it describes that our directory is not there any more, such as after a reboot."""


class Ability(Enum):
    """What the guest lets us do."""

    LIVE = auto()
    """It has a shell, and its agent opens files."""
    SHELL_ONLY = auto()
    """The agent opens no files, or the disk takes none: output comes at the end, cut at 16 MiB. All else works."""
    BARE = auto()
    """No shell either, such as on Windows: besides, no working directory, no scripts, no signals, no proof."""


class Opened(NamedTuple):
    """What Scratch.open found out and made. `ground`: None if and only if BARE; `files`: none unless LIVE."""

    ability: Ability
    ground: Ground | None
    files: list[OutputFile]


class Scratch:
    """Of one guest. Belongs to a QgaProtocol, and may be used by any number of commands at once."""

    def __init__(self, qga: QgaProtocol, *, parent: str = DEFAULT_PARENT, shell: str = SHELL) -> None:
        """`parent`, `shell`: paths in the guest."""
        self.qga: Final = qga
        self.shell: Final = shell
        self._parent = parent
        self._ground: Ground | None = None
        self._opens_files = True
        self._turn = asyncio.Lock()
        self._numbers = count()
        self._closed: list[str] = []
        """Paths of files that are to be removed."""
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def open(self, name: str, kinds: Sequence[str]) -> Opened:
        """New files, one of each kind, where the guest is able to. Raises Refused, and what `exec` raises."""
        for is_last_try in (False, True):
            ground = await self._prepare()
            if ground is None:
                return Opened(Ability.BARE, None, [])
            if ground.directory is None or not self._opens_files:
                return Opened(Ability.SHELL_ONLY, ground, [])
            files, refusal = await self._open_files(ground.directory, name, kinds)
            if refusal is None:
                return Opened(Ability.LIVE, ground, files)
            log.debug("qga.files_refused", guest=self.qga.guest_name, error_class=refusal.error_class)
            if refusal.error_class == _DISABLED:
                self._opens_files = False
            if is_last_try or _VANISHED not in refusal.description:
                return Opened(Ability.SHELL_ONLY, ground, [])
            if self._ground is ground:
                self._ground = None
        raise AssertionError("the last try returns")

    async def discard(self, files: Sequence[OutputFile]) -> None:
        """Close and remove them: large ones at once, small ones in a moment. Raises what `exec_and_wait` raises."""
        if not files:
            return
        await self.qga.burst([file.close_request() for file in files])
        self._closed += [file.path for file in files]
        if len(self._closed) >= _MANY_FILES or any(file.taken_bytes >= _LARGE_BYTES for file in files):
            await self._sweep()
        else:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_later(_QUIET_S, self._begin_sweep)

    async def remove(self) -> None:
        """All of it. Raises what `exec_and_wait` raises."""
        self._stop_timer()
        ground, self._ground, self._closed = self._ground, None, []
        if ground is not None and ground.directory is not None:
            await self._run(_REMOVE, ground.directory)

    async def _prepare(self) -> Ground | None:
        """None: the guest has no shell."""
        async with self._turn:
            if self._ground is not None:
                return self._ground
            directory = f"{self._parent}/.quarterdeck-{secrets.token_hex(8)}"
            try:
                output = (await self._run(PREPARE, directory)).stdout
                ground = Ground.parse(output, shell=self.shell, directory=directory)
            except Refused as refusal:
                if refusal.error_class == _DISABLED:
                    raise
                log.debug("qga.shell_missing", guest=self.qga.guest_name)
                return None
            except ValueError:
                text = f"{self.shell} is no shell that we know"
                guest = self.qga.guest_name
                raise Refused("ShellFailed", text, guest=guest, protocol=ProtocolType.QGA) from None
            if ground.directory is not None:  # otherwise there may be one the next time
                self._ground = ground
            return ground

    async def _open_files(
        self, directory: str, name: str, kinds: Sequence[str]
    ) -> tuple[list[OutputFile], Refused | None]:
        """All of them, or none and why."""
        stem = f"{directory}/{_UNFIT.sub('_', name)}-{next(self._numbers)}"
        paths = [f"{stem}.{kind}" for kind in kinds]
        answers = await self.qga.burst([OutputFile.open_request(path) for path in paths])
        files = [
            OutputFile(path, answer.value(int))
            for path, answer in zip(paths, answers, strict=True)
            if answer.refusal is None
        ]
        refusals = [answer.refusal for answer in answers if answer.refusal is not None]
        if not refusals:
            return files, None
        self._closed += paths  # the agent may have made it and then failed to keep it
        await self.discard(files)
        return [], refusals[0]

    async def _sweep(self) -> None:
        self._stop_timer()
        closed, self._closed = self._closed, []
        await self._run(_REMOVE, *closed)

    def _begin_sweep(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep_quietly(), name="qga.sweep")

    async def _sweep_quietly(self) -> None:
        try:
            await self._sweep()
        except MachineError as error:
            log.debug("qga.files_left_behind", guest=self.qga.guest_name, code=error.code)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self, script: str, *arguments: str) -> GuestExecStatus:
        program = GuestExec.simple(self.shell, ["-c", script, "sh", *arguments])
        return await self.qga.exec_and_wait(program, _PATIENCE_S)
