"""Entry point of the broadcaster: settings from the environment, then run."""

import os
import sys

from quarterdeck.broadcaster.service import WANTS, BroadcasterService
from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.core.runtime import run_service
from quarterdeck.core.settings import CoreSettings, SettingsError, load


def main() -> int:
    """The process's exit code."""
    try:
        core = load(CoreSettings, "", os.environ)
        settings = load(BroadcasterSettings, "BROADCASTER", os.environ)
    except SettingsError as error:
        sys.stderr.write(f"quarterdeck-broadcaster: {error.message}\n")
        return 2
    return run_service(lambda: BroadcasterService(settings), core, WANTS)
