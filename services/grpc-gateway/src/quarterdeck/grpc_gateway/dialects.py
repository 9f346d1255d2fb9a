"""Which protocols this gateway speaks besides our own: a line for each, by the method that its agents call."""

from quarterdeck.core.runtime import ServiceContext
from quarterdeck.gateway.foreign import agent_service, deepflow
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.dialect import Dialect
from quarterdeck.gateway.foreign.reception import ForeignReception
from quarterdeck.gateway.gateway import Gateway


def receptions(ctx: ServiceContext, gateway: Gateway, *, admit: bool) -> dict[str, ForeignReception]:
    """By full method name. `admit`: enrol strangers at first contact."""
    admission = Admission(ctx.registry, ctx.clock, gateway.events, admit=admit)
    dialects: dict[str, Dialect] = {
        agent_service.METHOD: agent_service.AgentServiceDialect(admission, ctx.clock),
        deepflow.METHOD: deepflow.DeepflowDialect(admission),
    }
    return {method: ForeignReception(dialect) for method, dialect in dialects.items()}
