"""Lifecycle of the dispatcher: three lanes in, links watched, what is due looked after."""

import asyncio
from typing import ClassVar

from quarterdeck.contracts.commands import Lane
from quarterdeck.core.outbox import Relay
from quarterdeck.core.rebuild import StateKeeper
from quarterdeck.core.registry import LinkRoster
from quarterdeck.core.runtime import ServiceContext, every
from quarterdeck.core.store.keys import all_shards
from quarterdeck.dispatcher.approvals import Approvals
from quarterdeck.dispatcher.attention import Attention
from quarterdeck.dispatcher.crew import Crew
from quarterdeck.dispatcher.dependencies import Dependencies
from quarterdeck.dispatcher.intake import Intake, lane_consumer
from quarterdeck.dispatcher.settings import DispatcherSettings


class Dispatcher:
    name: ClassVar[str] = "dispatcher"

    def __init__(self, settings: DispatcherSettings) -> None:
        self._settings = settings

    async def run(self, ctx: ServiceContext) -> None:
        relay = Relay(ctx.bus, ctx.store)
        roster = LinkRoster(ctx.registry, ctx.clock)
        crew = Crew(ctx.registry, roster.find)
        approvals = Approvals(ctx.registry, ctx.clock)
        dependencies = Dependencies(ctx.store, ctx.clock, approvals)
        intake = Intake(ctx.bus, ctx.store, relay, ctx.clock, crew.find, dependencies=dependencies)
        attention = Attention(ctx.bus, ctx.store, relay, ctx.clock, crew.find, dependencies=dependencies)
        crew.on_able(attention.agent_connected)
        roster.on_link(crew.agent_connected)
        await ctx.registry.agents.watch()
        await ctx.registry.policies.watch()
        await roster.start()
        settings, stopping = self._settings, ctx.stopping
        ctx.tasks.spawn(StateKeeper(ctx.bus, ctx.store, ctx.clock).run(), "keep-state")
        ctx.tasks.spawn(attention.follow_links(), "follow-links")
        ctx.ready()
        try:
            await asyncio.gather(
                *(ctx.bus.consume(lane_consumer(lane), intake.take, stopping) for lane in Lane),
                every(settings.look_every_s, attention.sweep, stopping, name="attention"),
                every(settings.outbox_every_s, lambda: relay.sweep(all_shards()), stopping, name="outbox"),
                every(settings.indexes_every_s, ctx.store.sweep_indexes, stopping, name="indexes"),
                every(settings.indexes_every_s, approvals.forget_old, stopping, name="approvals"),
            )
        finally:
            await roster.close()
