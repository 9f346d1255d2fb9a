"""Keeps a front running as a child of the executor, for as long as the agent lives.

Owns its start, its restarts, and what its exit code means for the agent. Knows nothing of links and frames.

The child stays in the executor's session, where the reaper leaves processes to whoever started them, and never is a
member of a command: commands have sessions of their own.
"""

import asyncio
import os
import pwd
import subprocess
import sys
from typing import Final, NamedTuple

import msgspec
import structlog

from quarterdeck.agent.backoff import FRONT_RESTART, Backoff
from quarterdeck.agent.catalogue import Catalogue
from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.front_launch import (
    EXIT_REFUSED,
    EXIT_USAGE,
    FRONT_MODULE,
    FrontLaunch,
    decode_end,
    encode_launch,
)
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.agent.settings import AgentSettings
from quarterdeck.core.clock import Clock, SystemClock

log = structlog.get_logger()

_STOOD_S: Final = 2.0
"""A front that lived this long is started again at once."""
_LEAVE_TIMEOUT_S: Final = 5.0
"""More than the front takes for a Goodbye to a gateway that does not listen."""


class FrontUser(NamedTuple):
    uid: int
    gid: int

    @classmethod
    def find(cls, name: str) -> "FrontUser":
        """Raises BadAgentSettings when there is no such user, or we may not become it."""
        if os.geteuid() != 0:
            raise BadAgentSettings("a front user needs an executor that runs as root", field="front_user")
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise BadAgentSettings(f"no such user: {name}", field="front_user") from None
        return cls(entry.pw_uid, entry.pw_gid)


class FrontChild:
    """Runs once; `stop` ends it."""

    def __init__(
        self, settings: AgentSettings, user: FrontUser | None = None, *, clock: Clock | None = None
    ) -> None:
        """`user`: whom the front becomes; ourselves when None."""
        self._settings = settings
        self._user = user
        self._clock = clock or SystemClock()
        self._backoff = Backoff(FRONT_RESTART)
        self._leaving = asyncio.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._stood = False
        """One of them could work with these settings."""

    @property
    def pid(self) -> int | None:
        """Of the front that runs now."""
        return self._child.pid if self._child is not None else None

    async def run(self) -> None:
        """Fronts, one after the other, until `stop`. Raises AgentRefused; BadAgentSettings while none ever stood."""
        launch = encode_launch(FrontLaunch(settings=self._front_settings()))
        while not self._leaving.is_set():
            started_s = self._clock.monotonic_s()
            exit_code = await self._one(launch)
            if self._leaving.is_set():
                return
            if self._clock.monotonic_s() - started_s > _STOOD_S:
                self._stood = True
                self._backoff.reset()
                wait_s = 0.0
            else:
                wait_s = self._backoff.next_s()
            log.warning("executor.front_ended", exit_code=exit_code, restart_in_s=round(wait_s, 2))
            await self._pause(wait_s)

    async def stop(self) -> None:
        """Lets the front say Goodbye; within bounded time. `run` returns then."""
        self._leaving.set()
        child = self._child
        if child is None:
            return
        _close_stdin(child)
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await _exited(child)
        except TimeoutError:
            child.kill()

    async def _one(self, launch: bytes) -> int | None:
        """One front, from start to end. Returns its exit code, None when it could not be started."""
        try:
            self._child = child = self._spawn()
        except OSError as error:  # out of processes or memory: perhaps not for long
            log.warning("executor.front_not_started", cause=error.strerror)
            return None
        try:
            assert child.stdin is not None and child.stdout is not None
            try:
                child.stdin.write(launch)
                child.stdin.flush()
            except BrokenPipeError:
                pass  # it is dead already
            log.info("executor.front_started", pid=child.pid)
            await _exited(child)
            exit_code = child.wait()
            if exit_code in (EXIT_REFUSED, EXIT_USAGE):
                end = decode_end(child.stdout.read())
                if exit_code == EXIT_REFUSED or not self._stood:
                    end.raise_error()
                # Such as a full disk: it may pass, and until then no running command is ended for it.
                log.error("executor.front_disturbed", cause=end.message)
            return exit_code
        finally:
            self._child = None
            child.kill()
            child.wait()
            _close_stdin(child)
            if child.stdout is not None:
                child.stdout.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # -P: nothing of the directory that the agent happens to be in is imported.
        argv = (sys.executable, "-P", "-m", FRONT_MODULE)
        if self._user is None:
            return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=self._user.uid,
            group=self._user.gid,
            extra_groups=(),
        )

    def _front_settings(self) -> AgentSettings:
        """Ours, without what the front has no business with. Makes the front user's directory."""
        settings = msgspec.structs.replace(
            self._settings,
            environment={},
            catalogue=Catalogue(),
            guests=GuestSettings(),
            run_dir=self._settings.socket_dir.absolute(),
        )
        if self._user is None:
            return settings
        directory = settings.data_dir / "front"
        directory.mkdir(exist_ok=True, mode=0o700)
        os.chown(directory, *self._user)
        # On its way to `front` and `run`; it can neither list nor change what is here.
        settings.data_dir.chmod(0o711)
        return msgspec.structs.replace(settings, data_dir=directory)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            pass


async def _exited(child: subprocess.Popen[bytes]) -> None:
    """Returns when it has; does not reap it."""
    if child.returncode is not None:
        return
    loop, exited = asyncio.get_running_loop(), asyncio.Event()
    pidfd = os.pidfd_open(child.pid)
    loop.add_reader(pidfd, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _close_stdin(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    try:
        child.stdin.close()
    except BrokenPipeError:
        pass  # what was left to write, it did not live to read
