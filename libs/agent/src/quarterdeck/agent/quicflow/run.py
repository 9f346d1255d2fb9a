"""A quicflow client with the handlers of an `Agent`, until a signal. Called by sdk.py."""

import asyncio
import signal

from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.quicflow.client import QuicflowClient
from quarterdeck.agent.quicflow.command_handler import CommandHandler
from quarterdeck.agent.quicflow.dispatcher import Dispatcher, MessageType
from quarterdeck.agent.quicflow.settings import QuicflowSettings


async def run_client(
    settings: QuicflowSettings, handlers: Handlers, stopping: asyncio.Event | None = None
) -> None:
    """Until `stopping` is set, or, without it, until SIGTERM or SIGINT."""
    client = QuicflowClient(settings)
    dispatcher = Dispatcher(settings.max_concurrent)
    dispatcher.register_handler(MessageType.COMMAND, CommandHandler(client, handlers))
    dispatcher.start()
    client.set_dispatcher(dispatcher)
    if stopping is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, client.stop)
        await client.run()
        return
    waiting = asyncio.create_task(stopping.wait(), name="quicflow.stopping")
    waiting.add_done_callback(lambda _: client.stop())
    try:
        await client.run()
    finally:
        waiting.cancel()
