"""`qd cancel`: the end of a run or a command, proved."""

import asyncio

from quarterdeck.cli.board import Board
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.durations import Duration
from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.resolve import find
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import counts_line
from quarterdeck.cli.watch import Watch


def cancel(
    *ids: str,
    no_wait: bool = False,
    wait: Duration = 60_000,
    server: Server = ANY_SERVER,
) -> int:
    """Cancel runs or commands, and wait for the proof that nothing of them is left.

    Parameters
    ----------
    ids
        Of runs or commands.
    no_wait
        Ask for it and return.
    wait
        How long to wait for the proof; exit with 3 when it has not come.
    """
    if not ids:
        raise UsageError("cancel what? Give the id of a run or a command; `qd ls` shows the latest")
    return asyncio.run(_cancel(ids, None if no_wait else wait / 1000, server))


async def _cancel(ids: tuple[str, ...], wait_s: float | None, server: Server) -> int:
    connection = server.resolve()
    screen = Screen.of_process()
    code = ExitCode.OK
    async with Api(connection.url, connection.token) as api:
        for run_id in ids:
            found = await find(api, run_id)
            await found.terminate()
            if wait_s is None:
                screen.note(f"{run_id}: asked to end")
                continue
            board = Board(found.commands)
            try:
                async with asyncio.timeout(wait_s):
                    await Watch(board, []).run(found.watch(output=False))
            except TimeoutError:
                code = ExitCode.STILL_RUNNING
            screen.note(f"{run_id}: {counts_line(board)}")
    return code
