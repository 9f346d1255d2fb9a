"""The limits that a new deployment has."""

from quarterdeck.api.settings import ApiSettings
from quarterdeck.core.settings import CoreSettings, load
from quarterdeck.dispatcher.settings import DispatcherSettings


def test_capacities_are_those_that_the_source_recommends() -> None:
    """S0-17: MaxPromises, maxCommandAge, cleanupInterval. S0-30: a rate is chosen, never assumed."""
    api, core = load(ApiSettings, "API", {}), load(CoreSettings, "", {})

    assert api.max_in_flight == 50_000
    assert core.command_history_s == 30 * 60
    assert load(DispatcherSettings, "DISPATCHER", {}).indexes_every_s == 5 * 60
    assert (api.write_rate, api.read_rate, api.client_rate) == ("", "", "")


def test_capacities_can_be_set() -> None:
    """S0-17, S0-30"""
    api = load(ApiSettings, "API", {"QD_API_MAX_IN_FLIGHT": "10", "QD_API_CLIENT_RATE": "5/second"})

    assert (api.max_in_flight, api.client_rate) == (10, "5/second")
    assert load(CoreSettings, "", {"QD_COMMAND_HISTORY_S": "60"}).command_history_s == 60
