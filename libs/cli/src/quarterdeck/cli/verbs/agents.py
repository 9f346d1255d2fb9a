"""`qd agents`: the machines, and how they are reached."""

import asyncio
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.text import Text

from quarterdeck.cli import selection
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.client.models import Agent
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of


def agents(
    *,
    selector: Annotated[tuple[str, ...], Parameter(alias="-l")] = (),
    connected: Annotated[bool | None, Parameter(negative="--offline")] = None,
    format: Literal["table", "json"] = "table",
    server: Server = ANY_SERVER,
) -> int:
    """List the machines.

    Parameters
    ----------
    selector
        Only those with this label: `role=web`. Repeated: all labels must fit.
    connected
        Only those that are connected, or with --offline that are not.
    """
    return asyncio.run(_agents(selector, connected, format, server))


async def _agents(selector: tuple[str, ...], connected: bool | None, format_: str, server: Server) -> int:
    selectors = selection.parse_selectors(selector)
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        found = await api.agents(connected=connected)
    wanted = set(selection.select(found, selectors))
    shown = sorted((agent for agent in found if agent.agent_id in wanted), key=lambda agent: agent.agent_id)
    if format_ == "json":
        print(msgspec.json.format(msgspec.json.encode(shown)).decode())
    else:
        Screen.of_process().show(
            rows_of(("AGENT", "LINK", "LABELS", "LAST SEEN", "VERSION"), map(_row, shown))
        )
    return ExitCode.OK


def _row(agent: Agent) -> tuple[object, ...]:
    if agent.connected and agent.link is not None:
        link = Text(f"{agent.link.carrier} → {agent.link.gateway_id}", style="green")
    else:
        link = Text("offline", style="yellow")
    labels = " ".join(f"{name}={value}" for name, value in sorted(agent.labels.items()))
    return (agent.agent_id, link, labels, agent.last_seen, agent.version)
