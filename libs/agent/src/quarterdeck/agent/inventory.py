"""What an agent tells of itself when it is asked: its commands by name and by type, and its machine's namespaces.

Two built-in handlers, beside whatever handlers the agent was given. Called by the runner, for every agent of ours.
"""

from quarterdeck.agent.catalogue import Catalogue, NamedCommand
from quarterdeck.agent.handlers import FunctionHandler, Handlers
from quarterdeck.agent.namespaces import linux_namespaces
from quarterdeck.contracts.agent_calls import (
    LIST_COMMANDS,
    LIST_NAMESPACES,
    LinuxNamespaces,
    RemoteCommand,
    RemoteCommands,
)

_OF_HANDLER = "handler"


def register_inventory(handlers: Handlers, catalogue: Catalogue) -> None:
    """A handler of the agent's own for one of these types stays."""

    async def list_commands() -> RemoteCommands:
        return RemoteCommands(commands=known_commands(handlers, catalogue))

    def list_namespaces() -> LinuxNamespaces:
        return LinuxNamespaces(namespaces=linux_namespaces())

    if LIST_COMMANDS not in handlers:
        handlers.register_handler(LIST_COMMANDS, FunctionHandler(list_commands))
    if LIST_NAMESPACES not in handlers:
        handlers.register_handler(
            LIST_NAMESPACES, FunctionHandler(list_namespaces)
        )  # plain: runs in a thread


def known_commands(handlers: Handlers, catalogue: Catalogue) -> list[RemoteCommand]:
    """The catalogue, then the handlers, numbered from 1."""
    built_in = {LIST_COMMANDS, LIST_NAMESPACES}
    types = [command_type for command_type in handlers.command_types if command_type not in built_in]
    named = [_named(number, command) for number, command in enumerate(catalogue.commands, 1)]
    handled = [
        RemoteCommand(id=number, cmd=command_type, type_name=_OF_HANDLER)
        for number, command_type in enumerate(types, len(named) + 1)
    ]
    return [*named, *handled]


def _named(number: int, command: NamedCommand) -> RemoteCommand:
    return RemoteCommand(
        id=number,
        cmd=command.cmd,
        param_names=[param.name for param in command.params],
        output_format=command.output_format,
        ident=command.ident,
        params=list(command.params),
        type_name=command.type_name,
    )
