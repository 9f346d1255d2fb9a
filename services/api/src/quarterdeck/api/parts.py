"""What the routes stand on, put together once by service.py."""

from dataclasses import dataclass

from quarterdeck.api.completions import Completions
from quarterdeck.api.fleet import Fleet
from quarterdeck.api.intake import Intake, Limits
from quarterdeck.api.settings import ApiSettings
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import Clock
from quarterdeck.core.halts import Halts
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import LinkRoster, Registry
from quarterdeck.core.runtime import Health
from quarterdeck.core.store import Store
from quarterdeck.web.tickets import Tickets


@dataclass(frozen=True, kw_only=True)
class Parts:
    settings: ApiSettings
    clock: Clock
    bus: Bus
    store: Store
    registry: Registry
    roster: LinkRoster
    fleet: Fleet
    health: Health
    relay: Relay
    intake: Intake
    limits: Limits
    halts: Halts
    completions: Completions
    tickets: Tickets
