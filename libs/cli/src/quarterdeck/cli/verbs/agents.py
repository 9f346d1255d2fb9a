"""`qd agents`: the machines, and how they are reached; registering those of other protocols, revoking any."""

import asyncio
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter
from rich.text import Text

from quarterdeck.cli import selection
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.client.models import Agent
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of

app = App(name="agents", help="List the machines; register and revoke some.")


@app.default
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


@app.command
def add(
    agent_id: str,
    /,
    *,
    dialect: Literal["agent_service", "deepflow", "quicflow"],
    vps_db_id: int | None = None,
    ip: str | None = None,
    mac: str | None = None,
    client_id: str | None = None,
    name: str = "",
    server: Server = ANY_SERVER,
) -> int:
    """Register an agent of another protocol. Its secret, if it has one, is printed once and stored nowhere.

    Parameters
    ----------
    agent_id
        What it is called here.
    dialect
        The protocol that it speaks.
    vps_db_id
        Its number, of agent_service.
    ip
        Its address, of deepflow; with --mac.
    mac
        Its hardware address, of deepflow.
    client_id
        Its name, of quicflow.
    name
        For people. Default: the agent id.
    """
    given = {"vps_db_id": vps_db_id, "ip": ip, "mac": mac, "client_id": client_id}
    identity = {member: value for member, value in given.items() if value is not None}
    return asyncio.run(_add(agent_id, dialect, identity, name, server))


async def _add(agent_id: str, dialect: str, identity: dict[str, str | int], name: str, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        made = await api.register_agent(agent_id, dialect=dialect, identity=identity, name=name)
    if made.secret is not None:
        print(made.secret)
    return ExitCode.OK


@app.command
def revoke(agent_id: str, /, *, server: Server = ANY_SERVER) -> int:
    """Revoke a machine: its link ends, and nothing comes from it any more."""
    return asyncio.run(_revoke(agent_id, server))


async def _revoke(agent_id: str, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        await api.revoke_agent(agent_id)
    return ExitCode.OK


def _row(agent: Agent) -> tuple[object, ...]:
    if agent.connected and agent.link is not None:
        link = Text(f"{agent.link.carrier} → {agent.link.gateway_id}", style="green")
    else:
        link = Text("revoked", style="dim") if agent.revoked else Text("offline", style="yellow")
    labels = " ".join(f"{name}={value}" for name, value in sorted(agent.labels.items()))
    return (agent.agent_id, link, labels, agent.last_seen, agent.version)
