"""LiveExec: a command in a guest whose output is read while it runs, byte for byte and without a limit.

The agent of a guest keeps at most 16 MiB of what a program prints, and tells it at the end. So the command writes into
two files in the guest, and each step reads what was appended, in one burst with the question whether it has ended.

Known limits. The files grow until the command ends, so `pause` it when nobody takes its output. A command that
truncates its own output (`> /dev/stderr` in place of `>&2`) takes away what was not read yet. What the children of a
command print after its end is not waited for. On a guest that lacks files or a shell (Ability), the output comes with
the end, which then says whether it was truncated.
"""

import asyncio
import signal
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from quarterdeck.machines.errors import NotSupported
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.qga.channel import Answer
from quarterdeck.machines.qga.output_file import OutputFile
from quarterdeck.machines.qga.process_tree import ProcessTree
from quarterdeck.machines.qga.scratch import Ability, Scratch
from quarterdeck.machines.qga.structures import GuestExec, GuestExecStatus, Request, StartedProgram
from quarterdeck.machines.qga.wrapper import Ground, Setting, script_argv

log = structlog.get_logger()

_SLOWEST_LOOK_S: Final = 0.1
"""At the output of a silent command: for whoever watches."""

_YOUNG_S: Final = 0.03
"""A command this young is only asked whether it is over: most are over soon, and a look at two files costs more."""


class LiveExecSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run in the guest. Exactly one of `argv` and `script`."""

    marker: str
    """Unique; in the environment of all its processes, by which they are found again."""
    argv: tuple[str, ...] = ()
    script: str | None = None
    """A text whose first line may name its interpreter; becomes a file in the guest."""
    environment: Mapping[str, str] = {}
    """On top of the agent's own. Names as a shell has them: it drops others."""
    working_directory: str = ""
    """Empty: the agent's own, mostly `/`. One that is missing ends the command with exit code 126 and a message."""
    input_content: bytes | None = None
    """What it reads on its standard input. None: nothing."""


class LiveStep(msgspec.Struct, frozen=True):
    """What one look brought."""

    stdout: bytes
    stderr: bytes
    end: GuestExecStatus | None
    """It has ended, and everything that it wrote was read. None: there is more to come, or may be."""
    pause_s: float
    """When another look is worth its while; 0: more output waits already."""


class LiveExec:
    """Runs once. `start`, then `step` until one brings the end, then `remove`.

    A step must not be cancelled: the answer that tells the end comes once. `signal`, `survivors` and `stop` may be
    called at any time, from other tasks too, and when `start` failed: what may have started is found by its marker.
    """

    def __init__(self, scratch: Scratch, spec: LiveExecSpec) -> None:
        self._scratch = scratch
        self._qga = scratch.qga
        self._spec = spec
        self._ability = Ability.LIVE
        self._files: list[OutputFile] = []
        """For stdout, stderr, and a script if there is one."""
        self.may_have_started = False
        """The guest was asked to start it. While this is false, a `start` that raised has started nothing."""
        self._pid = 0
        self._started_s = 0.0
        self._was_given_time = False
        """Since its start."""
        self._end: GuestExecStatus | None = None
        self._cadence = self._qga.cadence(ceiling_s=_SLOWEST_LOOK_S)
        self._tree = ProcessTree(self._qga, scratch.shell, spec.marker)

    @property
    def ability(self) -> Ability:
        """What the guest lets us do. Known after `start`."""
        return self._ability

    async def start(self) -> int:
        """Its pid in the guest. Raises Refused or NotSupported: it did not start; and what QgaProtocol.exec raises.

        After AgentSilent, TimedOut, ConnectionEnded or ProtocolViolation it may have started, or may yet.
        """
        await self._qga.check_running()
        kinds = ["out", "err"] if self._spec.script is None else ["out", "err", "script"]
        self._ability, ground, self._files = await self._scratch.open(self._spec.marker, kinds)
        program = self._program(ground)
        if self._spec.script is not None and self._files:
            for written in await self._qga.burst(self._files[-1].write_requests(self._spec.script.encode())):
                written.value(object)  # half a script must not run
        self.may_have_started = True
        (answer,) = await self._qga.burst([Request("guest-exec", program)])
        self._pid = self._tree.leader_pid = answer.value(StartedProgram).pid
        self._started_s = asyncio.get_running_loop().time()
        return self._pid

    async def step(self, *, stdout: bool = True, stderr: bool = True) -> LiveStep:
        """Reads up to 1 MiB of each stream that there is room for. Raises what QgaProtocol.burst raises.

        After one that raised, the next goes on where the last piece ended, so that no output is lost.
        Raises Refused when the agent has forgotten the command, such as after a restart: its end is unknown then.
        """
        if not self._was_given_time:  # nothing ends in no time, and each look costs the guest some
            self._was_given_time = True
            return LiveStep(b"", b"", None, self._cadence.next_s())
        if not self._files:
            return await self._captured_step()
        if self._is_young:
            (answer,) = await self._qga.burst(self._status_request())
            self._note_status(answer)
            if self._end is None:
                return LiveStep(b"", b"", None, self._cadence.next_s())
        wanted = [file for file, has_room in zip(self._files, (stdout, stderr), strict=False) if has_room]
        places = [request for file in wanted for request in file.place_requests()]
        reads = [file.read_request() for file in wanted]
        # In this order: a read that comes after the end sees all that was written.
        statuses = self._status_request()
        answers = iter(await self._qga.burst([*statuses, *places, *reads]))
        if statuses:
            self._note_status(next(answers))
        for _ in places:
            next(answers).value(object)
        pieces = {file: file.take(answer) for file, answer in zip(wanted, answers, strict=True)}
        if any(pieces.values()):
            self._cadence.restart()
        more_waits = any(file.more_waits for file in wanted)
        return LiveStep(
            stdout=pieces.get(self._files[0], b""),
            stderr=pieces.get(self._files[1], b""),
            end=self._end if stdout and stderr and not more_waits else None,
            pause_s=0 if more_waits else self._cadence.next_s(),
        )

    async def signal(self, number: int) -> None:
        """To all processes of it. Raises NotSupported without a shell, and what QgaProtocol.exec_and_wait raises."""
        self._check_shell()
        await self._tree.signal_all(signal.Signals(number))

    async def survivors(self) -> list[int]:
        """The pids of all living processes of it. Empty: the proof that it is gone. Raises what `signal` raises."""
        self._check_shell()
        return [process.pid for process in await self._tree.members()]

    async def stop(self, grace_s: float) -> bool:
        """SIGTERM, up to `grace_s`, SIGKILL. True: proven that nothing is left. Raises what `signal` raises."""
        self._check_shell()
        return await self._tree.stop(grace_s)

    async def pause(self) -> None:
        """Keeps it from filling the guest's disk while nobody takes its output. Raises what `signal` raises."""
        await self.signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Raises what `signal` raises."""
        await self.signal(signal.SIGCONT)

    async def remove(self) -> None:
        """Its files in the guest. Any number of calls, after any `start`. Raises what `exec_and_wait` raises."""
        files, self._files = self._files, []
        await self._scratch.discard(files)

    def _program(self, ground: Ground | None) -> GuestExec:
        spec = self._spec
        if ground is None:
            return self._bare_program()
        argv = spec.argv
        if spec.script is not None:
            argv = script_argv(spec.script, self._files[-1].path if self._files else None, ground.shell)
        if not argv:
            raise self._not_supported(
                "a script for another interpreter than the shell, on a guest without files"
            )
        setting = Setting(
            marker=spec.marker,
            working_directory=spec.working_directory,
            environment=spec.environment,
            input_content=spec.input_content,
            outputs=(self._files[0].path, self._files[1].path) if self._files else None,
        )
        return ground.program(argv, setting)

    def _bare_program(self) -> GuestExec:
        spec = self._spec
        if not spec.argv or spec.working_directory or spec.environment:
            raise self._not_supported(
                "a script, working directory or environment, on a guest without a shell"
            )
        program = GuestExec.simple(spec.argv[0], spec.argv[1:])
        return msgspec.structs.replace(program, input_data=spec.input_content)

    async def _captured_step(self) -> LiveStep:
        if self._end is not None:
            return LiveStep(b"", b"", self._end, 0)
        status = await self._qga.exec_status(self._pid)
        self._note_end(status)
        return LiveStep(
            status.stdout, status.stderr, self._end, 0 if status.exited else self._cadence.next_s()
        )

    @property
    def _is_young(self) -> bool:
        return self._end is None and asyncio.get_running_loop().time() - self._started_s < _YOUNG_S

    def _status_request(self) -> list[Request]:
        if self._end is not None:
            return []
        return [Request("guest-exec-status", {"pid": self._pid}, on_late=self._take_late_status)]

    def _take_late_status(self, result: msgspec.Raw) -> None:
        """The agent tells an end once, and this may have been that once."""
        try:
            self._note_end(msgspec.json.decode(result, type=GuestExecStatus))
        except msgspec.MsgspecError:
            log.debug("qga.late_status_unreadable", guest=self._qga.guest_name)

    def _note_status(self, answer: Answer) -> None:
        """Raises Refused, ProtocolViolation."""
        if (
            self._end is None
        ):  # otherwise a late answer told it meanwhile, and this one says that there is none
            self._note_end(answer.value(GuestExecStatus))

    def _note_end(self, status: GuestExecStatus) -> None:
        if status.exited:
            self._end = status

    def _check_shell(self) -> None:
        if self._ability is Ability.BARE:
            raise self._not_supported("signals, on a guest without a shell")

    def _not_supported(self, text: str) -> NotSupported:
        return NotSupported(text, guest=self._qga.guest_name, protocol=ProtocolType.QGA)
