"""Where the output of commands lies in one guest while they run: a directory that only the agent's user can enter.

Made in the guest when it is first needed, under a name that nobody can guess, and again when it has vanished. Finds out
what the guest can do: without a shell, or with an agent that may not open files, output cannot be live (live.py).
"""

import asyncio
import re
import secrets
from collections.abc import Sequence
from enum import Enum, auto
from itertools import count
from typing import Final

import structlog

from quarterdeck.machines.errors import Refused
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.qga.output_file import OutputFile
from quarterdeck.machines.qga.qga import SHELL, QgaProtocol
from quarterdeck.machines.qga.structures import GuestExec

log = structlog.get_logger()

DEFAULT_PARENT: Final = "/tmp"  # noqa: S108 - in the guest; the directory in it has an unguessable name and mode 0700

_MAKE: Final = 'mkdir -m 700 -- "$1"'
_REMOVE: Final = 'rm -rf -- "$@"'
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]")
_DISABLED: Final = "CommandNotFound"
"""What an agent answers for a command that it does not have, or that the guest's administrator switched off."""


class Ability(Enum):
    """What the guest lets us do."""

    LIVE = auto()
    """It has a shell, and its agent opens files."""
    SHELL_ONLY = auto()
    """The agent opens no files: output comes at the end, truncated at 16 MiB. Everything else works."""
    BARE = auto()
    """No shell either, such as on Windows: besides, no working directory, no scripts, no signals, no proof."""


class Scratch:
    """Of one guest. Belongs to a QgaProtocol, and may be used by any number of commands at once."""

    def __init__(self, qga: QgaProtocol, *, parent: str = DEFAULT_PARENT, shell: str = SHELL) -> None:
        """`parent`, `shell`: paths in the guest."""
        self.qga: Final = qga
        self.shell: Final = shell
        self._parent = parent
        self._directory: str | None = None
        self._opens_files = True
        self._turn = asyncio.Lock()
        self._numbers = count()

    async def open(self, name: str, kinds: Sequence[str]) -> tuple[Ability, list[OutputFile]]:
        """New files, one of each kind; none where the guest is not able to. Raises Refused, and what `exec` raises."""
        for is_last_try in (False, True):
            ability, directory = await self._prepare()
            if ability is not Ability.LIVE:
                return ability, []
            number = next(self._numbers)
            paths = [f"{directory}/{_UNFIT.sub('_', name)}-{number}.{kind}" for kind in kinds]
            answers = await self.qga.burst([OutputFile.open_request(path) for path in paths])
            refusals = [answer.refusal for answer in answers if answer.refusal is not None]
            files = [
                OutputFile(path, answer.value(int))
                for path, answer in zip(paths, answers, strict=True)
                if answer.refusal is None
            ]
            if not refusals:
                return ability, files
            await self.discard(files)
            if any(refusal.error_class == _DISABLED for refusal in refusals):
                self._opens_files = False
            elif is_last_try:
                raise refusals[0]
            elif self._directory == directory:
                self._directory = None  # it may have vanished, say when the guest was started anew
        return Ability.SHELL_ONLY, []

    async def discard(self, files: Sequence[OutputFile]) -> None:
        """Close and remove them. Raises what `exec_and_wait` raises."""
        if files:
            await self.qga.burst([file.close_request() for file in files])
            await self._run(_REMOVE, *(file.path for file in files))

    async def remove(self) -> None:
        """All of it. Raises what `exec_and_wait` raises."""
        directory, self._directory = self._directory, None
        if directory is not None:
            await self._run(_REMOVE, directory)

    async def _prepare(self) -> tuple[Ability, str]:
        """What the guest is able to, and the directory if that is LIVE."""
        if not self._opens_files:
            return Ability.SHELL_ONLY, ""
        async with self._turn:
            if self._directory is None:
                directory = f"{self._parent}/.quarterdeck-{secrets.token_hex(8)}"
                try:
                    exit_code = await self._run(_MAKE, directory)
                except Refused as refusal:
                    if refusal.error_class == _DISABLED:
                        raise
                    log.debug("qga.shell_missing", guest=self.qga.guest_name)
                    return Ability.BARE, ""
                if exit_code != 0:
                    raise self._refused(f"no directory for output can be made in {self._parent}")
                self._directory = directory
            return Ability.LIVE, self._directory

    async def _run(self, script: str, *arguments: str) -> int | None:
        program = GuestExec(path=self.shell, arg=["-c", script, "sh", *arguments])
        return (await self.qga.exec_and_wait(program)).exit_code

    def _refused(self, text: str) -> Refused:
        return Refused("ScratchFailed", text, guest=self.qga.guest_name, protocol=ProtocolType.QGA)
