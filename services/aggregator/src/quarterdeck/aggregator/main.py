"""Entry point of the aggregator; the only place here that reads the environment."""

import os

from quarterdeck.aggregator.service import Aggregator
from quarterdeck.aggregator.settings import AggregatorSettings
from quarterdeck.core.runtime import Wants, run_service
from quarterdeck.core.settings import CoreSettings, load


def main() -> int:
    settings = load(AggregatorSettings, "AGGREGATOR", os.environ)
    core = load(CoreSettings, "", os.environ)
    return run_service(lambda: Aggregator(settings), core, Wants(store=True))
