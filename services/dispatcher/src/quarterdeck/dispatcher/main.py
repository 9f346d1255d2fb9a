"""Entry point of the dispatcher; the only place here that reads the environment."""

import os

from quarterdeck.core.runtime import Wants, run_service
from quarterdeck.core.settings import CoreSettings, load
from quarterdeck.dispatcher.service import Dispatcher
from quarterdeck.dispatcher.settings import DispatcherSettings


def main() -> int:
    settings = load(DispatcherSettings, "DISPATCHER", os.environ)
    core = load(CoreSettings, "", os.environ)
    return run_service(lambda: Dispatcher(settings), core, Wants(store=True))
