"""Lifecycle of the aggregator: one consumer, nothing else. More replicas share it."""

from typing import ClassVar

import msgspec

from quarterdeck.aggregator.intake import REPORTS, Intake
from quarterdeck.aggregator.settings import AggregatorSettings
from quarterdeck.core.outbox import Relay
from quarterdeck.core.runtime import ServiceContext


class Aggregator:
    name: ClassVar[str] = "aggregator"

    def __init__(self, settings: AggregatorSettings) -> None:
        self._settings = settings

    async def run(self, ctx: ServiceContext) -> None:
        intake = Intake(ctx.bus, ctx.store, Relay(ctx.bus, ctx.store), ctx.clock)
        consumer = msgspec.structs.replace(REPORTS, max_batch=self._settings.pull_messages)
        ctx.ready()
        await ctx.bus.consume(consumer, intake.take, ctx.stopping)
