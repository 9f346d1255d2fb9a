"""When an agent counts as linked, as lost a moment ago, and as gone. All by a clock turned by hand."""

import pytest

from quarterdeck.contracts.limits import SETTLE_MS
from quarterdeck.contracts.links import LEASE_MS, Carrier, Epoch, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.core.clock import ManualClock
from quarterdeck.core.registry import Entry, Found, Gone, Recently
from quarterdeck.core.registry.keys import link_key
from quarterdeck.core.registry.roster import Presence

KEY = link_key("acme", "a1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def presence(clock: ManualClock) -> Presence:
    presence = Presence(clock)
    presence.incarnation = 7
    return presence


def link(
    revision: int = 1, *, ended_at_ms: int | None = None, end: LinkEnd = LinkEnd.CLOSED
) -> Entry[LinkRecord]:
    record = LinkRecord(
        tenant="acme",
        agent_id="a1",
        gateway_id="g1",
        carrier=Carrier.QUIC,
        since_ms=0,
        ended_at_ms=ended_at_ms,
        end=None if ended_at_ms is None else end,
    )
    return Entry(record, revision, 0)


def renew(presence: Presence, clock: ManualClock, *, draining: bool = False, written_ms_ago: int = 0) -> None:
    value = GatewayLease(gateway_id="g1", carrier=Carrier.QUIC, renewed_at_ms=0, draining=draining)
    presence.lease_changed("g1", Entry(value, 1, clock.now_ms() - written_ms_ago))


def live(presence: Presence, clock: ManualClock, for_ms: int, *, renewing: bool = True) -> None:
    """Let time pass as in a process that runs."""
    for _ in range(for_ms // 1_000):
        clock.advance(1_000)
        presence.tick()
        if renewing:
            renew(presence, clock)


def test_agent_that_was_never_seen_is_gone(presence: Presence) -> None:
    """An agent never seen is unreachable at once."""
    assert presence.find(KEY) == Gone(None)


def test_live_link_has_the_epoch_of_its_record(presence: Presence, clock: ManualClock) -> None:
    renew(presence, clock)
    presence.link_changed(KEY, link(revision=42))

    found = presence.find(KEY)

    assert isinstance(found, Found)
    assert found.epoch == Epoch(7, 42)


def test_link_lives_as_long_as_its_gateway_renews(presence: Presence, clock: ManualClock) -> None:
    presence.link_changed(KEY, link())

    live(presence, clock, 60_000)

    assert isinstance(presence.find(KEY), Found)


def test_link_that_ended_settles_before_it_counts_as_gone(presence: Presence, clock: ManualClock) -> None:
    """`unreachable` is decided only after the agent had no link for 10 s."""
    live(presence, clock, 20_000)
    ended_at_ms = clock.now_ms()
    presence.link_changed(KEY, link(ended_at_ms=ended_at_ms))

    assert presence.find(KEY) == Recently(ended_at_ms, SETTLE_MS)
    live(presence, clock, SETTLE_MS - 1_000)
    assert presence.find(KEY) == Recently(ended_at_ms, 1_000)
    live(presence, clock, 1_000)
    assert presence.find(KEY) == Gone(ended_at_ms)


def test_links_die_with_a_gateway_that_stops_renewing(presence: Presence, clock: ManualClock) -> None:
    renew(presence, clock)
    presence.link_changed(KEY, link())

    live(presence, clock, LEASE_MS - 1_000, renewing=False)
    assert isinstance(presence.find(KEY), Found)
    live(presence, clock, 1_000, renewing=False)
    assert isinstance(presence.find(KEY), Recently)
    live(presence, clock, SETTLE_MS, renewing=False)
    assert isinstance(presence.find(KEY), Gone)


def test_links_die_with_a_gateway_that_took_its_lease_back(presence: Presence, clock: ManualClock) -> None:
    live(presence, clock, 20_000)
    presence.link_changed(KEY, link())
    presence.lease_changed("g1", None)

    assert presence.find(KEY) == Recently(clock.now_ms(), SETTLE_MS)


def test_silence_while_this_process_was_frozen_expires_nobody(presence: Presence, clock: ManualClock) -> None:
    """SIGSTOP of any process; a dispatcher that wakes up must not call the fleet unreachable."""
    renew(presence, clock)
    presence.link_changed(KEY, link())

    clock.advance(120_000)

    assert isinstance(presence.find(KEY), Found)


def test_silence_while_nats_was_away_expires_nobody(presence: Presence, clock: ManualClock) -> None:
    renew(presence, clock)
    presence.link_changed(KEY, link())
    live(presence, clock, LEASE_MS - 1_000, renewing=False)

    presence.resume()
    live(presence, clock, LEASE_MS - 1_000, renewing=False)

    assert isinstance(presence.find(KEY), Found)


def test_link_whose_gateway_has_not_been_heard_of_yet_is_believed(
    presence: Presence, clock: ManualClock
) -> None:
    """Links and leases are two buckets: their order of arrival means nothing."""
    presence.link_changed(KEY, link())

    assert isinstance(presence.find(KEY), Found)
    live(presence, clock, LEASE_MS, renewing=False)
    assert isinstance(presence.find(KEY), Recently)


def test_lease_of_a_former_life_is_not_believed(presence: Presence, clock: ManualClock) -> None:
    """After a restart of everything the old gateways are still written down."""
    presence.link_changed(KEY, link())
    renew(presence, clock, written_ms_ago=3_600_000)

    assert isinstance(presence.find(KEY), Recently)


@pytest.mark.parametrize("end", [LinkEnd.DRAINING, LinkEnd.REPLACED])
def test_agent_that_we_sent_away_may_come_back_after_our_restart(
    presence: Presence, clock: ManualClock, end: LinkEnd
) -> None:
    """A restart of the whole system must not make the fleet unreachable for its first seconds."""
    presence.link_changed(KEY, link(ended_at_ms=clock.now_ms() - 3_600_000, end=end))

    assert isinstance(presence.find(KEY), Recently)
    live(presence, clock, SETTLE_MS)
    assert isinstance(presence.find(KEY), Gone)


def test_agent_that_left_by_itself_long_ago_is_gone_at_once(presence: Presence, clock: ManualClock) -> None:
    presence.link_changed(KEY, link(ended_at_ms=clock.now_ms() - 3_600_000))

    assert isinstance(presence.find(KEY), Gone)


def test_link_on_a_draining_gateway_says_so(presence: Presence, clock: ManualClock) -> None:
    presence.link_changed(KEY, link())
    renew(presence, clock, draining=True)

    found = presence.find(KEY)

    assert isinstance(found, Found)
    assert found.draining


def test_only_a_living_link_counts_as_a_new_one(presence: Presence, clock: ManualClock) -> None:
    assert presence.link_changed(KEY, link())
    assert not presence.link_changed(KEY, link(ended_at_ms=clock.now_ms()))
    assert not presence.link_changed(KEY, None)
    assert presence.find(KEY) == Gone(None)
