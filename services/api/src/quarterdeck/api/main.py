"""Entry point of the api service: settings from the environment, then run."""

import os
import sys

from quarterdeck.api.service import WANTS, ApiService
from quarterdeck.api.settings import ApiSettings
from quarterdeck.core.runtime import run_service
from quarterdeck.core.settings import CoreSettings, SettingsError, load


def main() -> int:
    """The process's exit code."""
    try:
        core = load(CoreSettings, "", os.environ)
        settings = load(ApiSettings, "API", os.environ)
    except SettingsError as error:
        sys.stderr.write(f"quarterdeck-api: {error.message}\n")
        return 2
    return run_service(lambda: ApiService(settings), core, WANTS)
