"""Whatever happens, in whatever order: a model of the list, the connections and the calls beside a balancer."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hrpc.service.balancing import Endpoint
from tests.service.balancing.endpoints import CANCELLED, OK, UNAVAILABLE, Fleet

NAMES = st.sampled_from(["a/1", "a/2", "a/3", "b/1", "b/2", "c/1"])
LISTS = st.dictionaries(NAMES, st.integers(0, 5))


class AnyOrder(RuleBasedStateMachine):
    """What a balancer promises at every moment."""

    @initialize(
        weights=LISTS,
        picker=st.sampled_from(["weighted_round_robin", "p2c", "consistent_hash"]),
        zone=st.sampled_from(["", "a", "c", "z"]),
        slow_start=st.sampled_from([0.0, 10.0]),
        seed=st.integers(0, 100),
    )
    def begin(self, weights: dict[str, int], picker: str, zone: str, slow_start: float, seed: int) -> None:
        self.fleet = Fleet(weights, zone, seed, picker=picker, slow_start=slow_start, eject_after=2)
        self.running: list[Endpoint] = []
        self.tried: set[str] = set()
        self.picked = dict.fromkeys(weights, 0)

    @rule(weights=LISTS)
    def the_registry_has_others(self, weights: dict[str, int]) -> None:
        before = {endpoint.key: endpoint for endpoint in self.fleet.balancer.endpoints}
        assert set(self.fleet.replace(weights)) == before.keys() - weights.keys()
        after = {endpoint.key: endpoint for endpoint in self.fleet.balancer.endpoints}
        assert list(after) == list(weights)
        assert all(after[name] is before[name] for name in after.keys() & before.keys())
        self.picked = {name: self.picked[name] if name in before else 0 for name in weights}

    @rule(down=st.sets(NAMES))
    def connections_come_and_go(self, down: set[str]) -> None:
        self.fleet.down = down

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.0, 7.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.fleet.clock.now += seconds

    @rule(key=st.sampled_from([None, "x", "y"]), without=st.sets(NAMES, max_size=2), times=st.integers(1, 5))
    def calls_begin(self, key: str | None, without: set[str], times: int) -> None:
        known = {str(endpoint.key): endpoint for endpoint in self.fleet.balancer.endpoints}
        for _ in range(times):
            picked = self.fleet.balancer.pick(key, [known[name] for name in without & known.keys()])
            if picked is None:
                assert not known
                return
            name = str(picked.key)
            assert known[name] is picked
            connected = known.keys() - self.fleet.down
            assert name in connected or not connected - without
            assert name not in without or not connected - without
            well = {name for name in connected - without if not known[name].ejected_until}
            assert name in well or picked.probed_at == self.fleet.clock.now or not well
            self.picked[name] += 1
            self.fleet.balancer.began(picked)
            self.running.append(picked)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), code=st.sampled_from([OK, UNAVAILABLE, UNAVAILABLE, CANCELLED]), seconds=st.floats(0, 5))
    def a_call_ends(self, data: st.DataObject, code: object, seconds: float) -> None:
        endpoint = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.fleet.balancer.ended(endpoint, code, seconds)  # type: ignore[arg-type]

    @rule()
    def somebody_asks_for_rows(self) -> None:
        rows = self.fleet.rows()
        assert {name: row.picks for name, row in rows.items()} == self.picked
        if rows and not any(row.why.endswith("no other can be") for row in rows.values()):
            assert any(row.state in ("in", "slow start") for row in rows.values())

    @invariant()
    def no_more_than_half_are_ejected(self) -> None:
        endpoints = list(self.fleet.balancer.endpoints)
        assert sum(endpoint.ejected_until > 0 for endpoint in endpoints) <= len(endpoints) / 2

    @invariant()
    def calls_in_flight_are_those_that_run(self) -> None:
        for endpoint in self.fleet.balancer.endpoints:
            assert endpoint.in_flight == sum(running is endpoint for running in self.running)

    @invariant()
    def somebody_has_a_share(self) -> None:
        endpoints = self.fleet.balancer.endpoints
        assert not endpoints or sum(endpoint.share for endpoint in endpoints) > 0


TestAnyOrder = pytest.mark.timeout(300)(AnyOrder.TestCase)
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
