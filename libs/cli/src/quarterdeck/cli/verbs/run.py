"""`qd run`: an order to many machines, and every answer as it happens."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quarterdeck.cli import selection
from quarterdeck.cli.board import Board
from quarterdeck.cli.client.api import Api, Order
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.durations import Duration, Timeout
from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.follow import Subject, follow
from quarterdeck.cli.interrupts import Interrupts
from quarterdeck.cli.order import Payload, parse_env, payload_of
from quarterdeck.cli.output import log_dir
from quarterdeck.cli.presentation import Format, Style
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.sizes import Size
from quarterdeck.contracts.ids import child_id


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """Which machines."""

    target: Annotated[tuple[str, ...], Parameter(alias="-t")] = ()
    """Machines: `agent` or `agent/guest`, in a list with commas or with the flag repeated."""

    selector: Annotated[tuple[str, ...], Parameter(alias="-l")] = ()
    """Machines that have this label: `role=web`. Repeated: all labels must fit."""

    all: bool = False
    """Every machine, connected or not."""

    limit: str | None = None
    """Only the first ones: a number such as 5, or a percentage such as 10%."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class How:
    """Options of the command itself."""

    script: Path | None = None
    """A file to run instead of a command, with its own shebang."""

    type: str | None = None
    """A command type that a handler on the machine registered; the command is then its payload, in JSON."""

    timeout: Timeout | None = None
    """From process start: 30, 90s, 5m, or quick, normal, long for 10, 30, 60 seconds. Default: an hour."""

    no_output_timeout: Duration | None = None
    """End it when it prints nothing for so long."""

    grace: Duration | None = None
    """Between SIGTERM and SIGKILL, when it is cancelled or times out. Default: 5s."""

    max_output: Size | None = None
    """Keep so much of each stream: 64KiB, 10MB, 2GiB. What is printed beyond it is dropped. Default: 256MiB."""

    queue_for: Duration | None = None
    """Wait so long for machines that are offline, instead of calling them unreachable."""

    retries: int = 0
    """Try again so often after a failure."""

    priority: int | None = None
    """1 to 10; 8 and more is urgent, 3 and less is bulk."""

    after: tuple[str, ...] = ()
    """Ids of runs and commands that must have succeeded first; if one does not, this is skipped. Repeat it for more."""

    cwd: str | None = None
    """Working directory on the machine."""

    env: Annotated[tuple[str, ...], Parameter(alias="-e")] = ()
    """NAME=value for its environment. Repeat it for more."""

    alias: str | None = None
    """A name for this run."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the answers are shown."""

    detach: Annotated[bool, Parameter(alias="-d")] = False
    """Print the id and return at once."""

    wait: Duration | None = None
    """Watch no longer than this; exit with 3 when it still runs."""

    group: Annotated[bool, Parameter(alias="-g")] = False
    """Fold machines whose output is identical."""

    log_dir: Path | None = None
    """Keep the exact bytes of each machine and stream in files here."""

    format: Format = "table"
    """table for people; for programs json when it is over, jsonl as it happens."""

    raw: bool = False
    """Let control characters of the output reach the terminal."""

    def style(self) -> Style:
        return Style(format=self.format, group=self.group, raw=self.raw, log_dir=self.log_dir)


def run(
    *command: Annotated[str, Parameter(show=False)],
    where: Where = Where(),
    how: How = How(),
    shown: Shown = Shown(),
    server: Server = ANY_SERVER,
) -> int:
    """Run a command on many machines and watch it.

    One word is read by a shell on the machine; several words behind `--` are a program and its arguments:

        qd run -t web-1,web-2 'df -h | tail -3'
        qd run -l role=web -- systemctl restart nginx

    Exit code: 0 all succeeded, 1 usage or API error, 2 some failed, 3 still running, 4 some undelivered,
    5 some skipped (--after), 130 interrupted; on one machine the remote exit code.
    """
    payload = payload_of(command, how.script, how.type)
    return asyncio.run(_run(payload, where, how, shown, server))


async def _run(payload: Payload, where: Where, how: How, shown: Shown, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api, Interrupts() as interrupts:
        targets = await _targets(api, where)
        if shown.log_dir is not None:
            log_dir.make(shown.log_dir)
        accepted = await api.submit(_order(payload, targets, how))
        batch_id = accepted.batch_command_id
        if shown.detach:
            _tell_detached(batch_id, shown.format)
            return ExitCode.OK
        subject = Subject(
            run_id=batch_id,
            board=Board((child_id(batch_id, index), target) for index, target in enumerate(targets)),
            feed=lambda output: api.watch_batch(batch_id, output=output),
            terminate=lambda: api.terminate_batch(batch_id),
        )
        wait_s = None if shown.wait is None else shown.wait / 1000
        return await follow(api, subject, shown.style(), interrupts, wait_s)


async def _targets(api: Api, where: Where) -> list[str]:
    named = selection.split_targets(where.target)
    selectors = selection.parse_selectors(where.selector)
    if sum((bool(named), bool(selectors), where.all)) != 1:
        raise UsageError("say which machines: -t NAME, -l LABEL=VALUE or --all; one of the three")
    targets = named or selection.select(await api.enrolled_agents(), selectors)
    if not targets:
        raise UsageError("no machine has these labels" if selectors else "no machine is enrolled yet")
    return selection.limit(targets, where.limit)


def _order(payload: Payload, targets: Sequence[str], how: How) -> Order:
    return Order(
        target_vps_ids=targets,
        command_type=payload.command_type,
        payload=payload.members,
        timeout=_seconds(how.timeout),
        no_output_timeout=_seconds(how.no_output_timeout),
        grace=_seconds(how.grace),
        max_output_bytes=how.max_output,
        queue_for=_seconds(how.queue_for),
        priority=how.priority,
        retry={"max_attempts": how.retries + 1} if how.retries else None,
        working_directory=how.cwd,
        env=parse_env(how.env) or None,
        depends_on=how.after or None,
        execution_alias=how.alias,
    )


def _seconds(duration_ms: int | None) -> float | None:
    return None if duration_ms is None else duration_ms / 1000


def _tell_detached(batch_id: str, format_: Format) -> None:
    if format_ != "table":
        print(f'{{"batch_id": "{batch_id}"}}')
        return
    print(batch_id)
    Screen.of_process().note(f"watch: qd tail -f {batch_id}    cancel: qd cancel {batch_id}", "dim")
