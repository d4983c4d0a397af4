"""The figures of a life are measured, and each target is one of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from benchmarks.life import lives, probes, service
from benchmarks.life.targets import TARGETS
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark is for Linux")

FOUND: Mapping[str, Mapping[str, list[str]]] = {
    "lives": {lives.FULL: [lives.START, lives.STOP]},
    "probes": {probes.probed(kind): [probes.WHOLE] for kind in probes.KINDS},
}


def test_every_target_is_a_figure_of_a_table() -> None:
    tables = [
        Table(key, "", "", tuple(Row(row, dict.fromkeys(columns, Spread(1, 1, 1))) for row, columns in rows.items()))
        for key, rows in FOUND.items()
    ]
    assert all(target.cells(tables) for target in TARGETS)
    assert {target.table for target in TARGETS} == FOUND.keys()


def test_a_life_is_measured_from_its_imports_to_its_end() -> None:
    found = lives.live("plain", "")
    assert list(found) == [lives.IMPORTS, lives.START, lives.STOP, lives.GONE]
    assert 0 < found[lives.STOP] <= found[lives.GONE]


def test_a_service_that_does_not_start_is_no_figure() -> None:
    with pytest.raises(ChildProcessError, match=rf'without printing "{service.IMPORTED}":(.|\n)*invalid choice: .none'):
        lives.live("none", "")
