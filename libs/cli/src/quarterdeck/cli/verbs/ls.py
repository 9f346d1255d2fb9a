"""`qd ls`: the latest runs, or the latest commands."""

import asyncio
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from quarterdeck.cli.client.api import Api
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of


def ls(
    *,
    commands: Annotated[bool, Parameter(alias="-c")] = False,
    target: Annotated[str | None, Parameter(alias="-t")] = None,
    status: str | None = None,
    limit: Annotated[int, Parameter(alias="-n")] = 20,
    format: Literal["table", "json"] = "table",
    server: Server = ANY_SERVER,
) -> int:
    """List the latest runs, the newest first.

    Parameters
    ----------
    commands
        Single commands instead of runs.
    target
        Only commands of this machine.
    status
        Only commands of this status: pending, executing, completed, failed, timeout.
    limit
        How many.
    """
    return asyncio.run(
        _ls(commands or target is not None or status is not None, target, status, limit, format, server)
    )


async def _ls(
    commands: bool, target: str | None, status: str | None, limit: int, format_: str, server: Server
) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        if commands:
            listed = await api.commands(agent_id=target, status=status, limit=limit)
            found: object = listed.commands
            columns: tuple[str, ...] = ("COMMAND", "TARGET", "TYPE", "STATUS", "CREATED", "ERROR")
            rows: list[tuple[object, ...]] = [
                (c.command_id, c.client_id, c.command_type, c.status, c.created_at, c.error)
                for c in listed.commands
            ]
        else:
            runs = (await api.batches(limit)).batch_commands
            found, columns = runs, ("RUN", "STATUS", "MACHINES", "NAME", "CREATED")
            rows = [
                (b.batch_command_id, b.overall_status, _counts(b.counts), b.execution_alias, b.created_at)
                for b in runs
            ]
    if format_ == "json":
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        Screen.of_process().show(rows_of(columns, rows))
    return ExitCode.OK


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items() if number)
