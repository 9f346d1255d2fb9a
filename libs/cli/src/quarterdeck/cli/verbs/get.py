"""`qd get`: where a run or a command stands now."""

import asyncio
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.text import Text

from quarterdeck.cli.client.api import Api
from quarterdeck.cli.client.models import Batch, Command
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.resolve import find
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of


def get(
    id: str,
    /,
    *,
    wait: Annotated[bool, Parameter(alias="-w")] = False,
    format: Literal["table", "json"] = "table",
    server: Server = ANY_SERVER,
) -> int:
    """Show where a run or a command stands.

    Parameters
    ----------
    id
        Of a run or of one of its commands.
    wait
        Answer when it has ended.
    format
        json: as the API tells it.
    """
    return asyncio.run(_get(id, wait, format, server))


async def _get(run_id: str, wait: bool, format_: str, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        found = await find(api, run_id)
        if wait:
            async for _event in found.watch(output=False):
                pass
            found = await find(api, run_id)
    screen = Screen.of_process()
    if format_ == "json":
        print(msgspec.json.format(msgspec.json.encode(found.batch or found.command)).decode())
    elif found.batch is not None:
        _show_batch(screen, found.batch)
    elif found.command is not None:
        _show_command(screen, found.command)
    return ExitCode.OK


def _show_batch(screen: Screen, batch: Batch) -> None:
    title = Text.assemble((batch.batch_command_id, "bold"), "  ", batch.overall_status)
    if batch.execution_alias:
        title.append(f"  {batch.execution_alias}", style="dim")
    screen.show(title)
    rows = (
        (
            task.vps_id,
            task.status,
            task.exit_code,
            task.error_message,
            (task.output_stream_summary or [""])[-1],
        )
        for task in batch.tasks
    )
    screen.show(rows_of(("TARGET", "STATUS", "EXIT", "ERROR", "LAST LINE"), rows))


def _show_command(screen: Screen, command: Command) -> None:
    members = msgspec.to_builtins(command)
    shown = ((name.upper().replace("_", " "), value) for name, value in members.items() if value is not None)
    screen.show(rows_of(("", ""), shown))
