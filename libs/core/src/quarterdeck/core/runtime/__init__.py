"""How a service lives: started, made ready, drained, ended. Each main.py calls `run_service` and nothing else of this.

    service.py   what a service is, and what it is given
    tasks.py     background tasks whose crash is the service's crash
    health.py    liveness and readiness
    periodic.py  work that repeats
    http.py      /health/live, /health/ready, /metrics
    run.py       the life itself

The api service shows health and metrics on its own port, from the same parts.
"""

from quarterdeck.core.runtime.health import Health, HealthSnapshot
from quarterdeck.core.runtime.periodic import every
from quarterdeck.core.runtime.run import EXIT_CRASHED, EXIT_NOT_DRAINED, run_service
from quarterdeck.core.runtime.service import Service, ServiceContext, Wants
from quarterdeck.core.runtime.tasks import TaskSet

__all__ = [
    "EXIT_CRASHED",
    "EXIT_NOT_DRAINED",
    "Health",
    "HealthSnapshot",
    "Service",
    "ServiceContext",
    "TaskSet",
    "Wants",
    "every",
    "run_service",
]
