"""One child process: started in a session of its own, watched through a pidfd.

Popen and not asyncio's subprocess: that one costs six times as much under uvloop, and its pipes cannot be read by need.
"""

import os
import subprocess
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from quarterdeck.agent.executor.watcher import Watcher
from quarterdeck.contracts.errors import QuarterdeckError

_EXIT_NOT_FOUND: Final = 127
_EXIT_CANNOT: Final = 126
"""What a shell answers. Source: POSIX.1-2024, Shell & Utilities 2.8.2."""


class SpawnFailed(QuarterdeckError):
    """Nothing was started. `exit_code`: as a shell would say it, 126 or 127."""

    code = "spawn_failed"

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SpawnRequest(msgspec.Struct, frozen=True):
    argv: tuple[str, ...]
    working_directory: str
    environment: dict[str, str]


class Process:
    """A running child. `on_exit` is called once, on the loop, when it has ended and was reaped."""

    def __init__(
        self, popen: subprocess.Popen[bytes], pidfd: int, watcher: Watcher, on_exit: Callable[[int], None]
    ) -> None:
        self.pid: Final = popen.pid
        self._popen = popen
        self._pidfd = pidfd
        self._on_exit = on_exit
        self._watcher = watcher
        watcher.watch(pidfd, self._ended)

    def _ended(self) -> None:
        returncode = self._popen.poll()
        if returncode is None:
            return
        self._watcher.forget(self._pidfd)
        os.close(self._pidfd)
        self._on_exit(returncode)


class Spawned(NamedTuple):
    """`stdout` and `stderr`: read ends, the caller's from now on."""

    process: Process
    stdout: int
    stderr: int


def spawn(request: SpawnRequest, watcher: Watcher, on_exit: Callable[[int], None]) -> Spawned:
    """Start it: own session and group, stdin empty, stdout and stderr in pipes. Raises SpawnFailed.

    `on_exit` gets the exit code, or minus the signal's number.
    """
    descriptors: list[int] = []
    try:
        descriptors += os.pipe()
        descriptors += os.pipe()
        stdout, child_stdout, stderr, child_stderr = descriptors
        popen = subprocess.Popen(
            request.argv,
            stdin=subprocess.DEVNULL,
            stdout=child_stdout,
            stderr=child_stderr,
            cwd=request.working_directory,
            env=request.environment,
            start_new_session=True,
        )
        os.close(child_stdout)
        os.close(child_stderr)
    except (OSError, ValueError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise _spawn_failed(request, error) from error
    try:
        pidfd = os.pidfd_open(popen.pid)
    except OSError as error:  # out of descriptors: a child that cannot be watched must not run
        popen.kill()
        popen.wait()
        os.close(stdout)
        os.close(stderr)
        raise _spawn_failed(request, error) from error
    return Spawned(Process(popen, pidfd, watcher, on_exit), stdout, stderr)


def _spawn_failed(request: SpawnRequest, error: OSError | ValueError) -> SpawnFailed:
    if not isinstance(error, OSError):  # a NUL, or an "=" in a variable's name
        return SpawnFailed(str(error), exit_code=_EXIT_CANNOT)
    # Popen says by the file name which of the two it was.
    if error.filename == request.working_directory:
        return SpawnFailed(f"working directory {error.filename}: {error.strerror}", exit_code=_EXIT_CANNOT)
    exit_code = _EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else _EXIT_CANNOT
    return SpawnFailed(f"{request.argv[0]}: {error.strerror}", exit_code=exit_code)
