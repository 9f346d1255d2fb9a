"""Which machines a request names, checked: the pattern, no target twice, known to the tenant."""

from collections.abc import Container, Sequence

from quarterdeck.api.errors import UnknownTargets
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.ids import Target, parse_target
from quarterdeck.contracts.limits import MAX_BATCH_TARGETS


def parse_targets(texts: Sequence[str], *, field: str) -> tuple[Target, ...]:
    """In the order of the request. Raises InvalidInput and InvalidTarget, naming the element."""
    if not texts:
        raise InvalidInput(f"{field}: expected at least one target", field=field)
    if len(texts) > MAX_BATCH_TARGETS:
        raise InvalidInput(f"{field}: {len(texts)} targets, limit {MAX_BATCH_TARGETS}", field=field)
    targets = tuple(parse_target(text, f"{field}[{index}]") for index, text in enumerate(texts))
    seen: set[Target] = set()
    for index, target in enumerate(targets):
        if target in seen:
            raise InvalidInput(f"{field}[{index}]: {target} is named twice", field=f"{field}[{index}]")
        seen.add(target)
    return targets


def check_known(targets: Sequence[Target], known: Container[str], *, field: str) -> None:
    """`known`: agent ids. Raises UnknownTargets with all that are not among them."""
    unknown = tuple(str(target) for target in targets if target.agent_id not in known)
    if unknown:
        raise UnknownTargets(unknown, field=field)
