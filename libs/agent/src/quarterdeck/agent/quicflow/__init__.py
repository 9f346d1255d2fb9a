"""The Python SDK of quicflow clients: the names of the source system's client, on its wire.

    executor = MyExecutor()                                  # a CommandExecutor
    client = QuicflowClient(settings)
    dispatcher = Dispatcher()
    dispatcher.register_handler(MessageType.COMMAND, CommandHandler(client, executor))
    dispatcher.start()
    client.set_dispatcher(dispatcher)
    await client.run()

Handlers of `quarterdeck.agent.sdk.Agent` run here too: its `handlers` are an executor, and `agent.run(settings)` with
QuicflowSettings does all of the above.
"""

from quarterdeck.agent.quicflow.client import QuicflowClient
from quarterdeck.agent.quicflow.command_handler import CommandHandler
from quarterdeck.agent.quicflow.dispatcher import Dispatcher, MessageHandler, MessageType
from quarterdeck.agent.quicflow.executor import CannotExecute, CommandExecutor, InvalidPayload, UnknownCommand
from quarterdeck.agent.quicflow.settings import QuicflowSettings

__all__ = [
    "CannotExecute",
    "CommandExecutor",
    "CommandHandler",
    "Dispatcher",
    "InvalidPayload",
    "MessageHandler",
    "MessageType",
    "QuicflowClient",
    "QuicflowSettings",
    "UnknownCommand",
]
