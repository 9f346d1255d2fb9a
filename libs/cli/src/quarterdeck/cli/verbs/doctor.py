"""`qd doctor`: what is wrong, and what helps."""

import asyncio
from importlib.metadata import version
from typing import Final

from rich.text import Text

from quarterdeck.cli.checks import Finding, Verdict, examine
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.context import ANY_SERVER, Connection, Server
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of

_MARKS: Final = {
    Verdict.OK: Text("✓", style="green"),
    Verdict.WARNING: Text("!", style="yellow"),
    Verdict.BROKEN: Text("✗", style="bold red"),
}


def doctor(*, server: Server = ANY_SERVER) -> int:
    """Look at the server, the token, the brokers, the clock and the machines; exit with 1 when something is broken."""
    return asyncio.run(_doctor(server.resolve()))


async def _doctor(connection: Connection) -> int:
    async with Api(connection.url, connection.token) as api:
        findings = [
            Finding(Verdict.OK, "settings", f"from {connection.source}"),
            *await examine(api, version("quarterdeck-cli")),
        ]
    rows = ((_MARKS[found.verdict], found.check, found.seen, found.remedy) for found in findings)
    Screen.of_process().show(rows_of(("", "CHECK", "SEEN", "WHAT HELPS"), rows))
    broken = any(found.verdict is Verdict.BROKEN for found in findings)
    return ExitCode.ERROR if broken else ExitCode.OK
