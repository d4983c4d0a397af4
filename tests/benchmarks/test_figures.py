"""What is made of the figures of a benchmark."""

from __future__ import annotations

import json
from dataclasses import asdict
from xml.etree import ElementTree

import pytest

from benchmarks import chart
from benchmarks.parts import SERVING
from benchmarks.results import Row, Table, shown
from benchmarks.rounds import Spread, interleaved, ratios
from benchmarks.targets import TARGETS, Target
from benchmarks.variants import DEFAULT, FULL, JOINED, STACK, with_methods

TABLE = Table(
    "stack",
    "Unary <calls>",
    "Small ones.",
    (
        Row("bare", {"calls": Spread(1, 1, 1), "calls per CPU time": Spread(1, 1, 1)}),
        Row("hrpc & co", {"calls": Spread(0.957, 0.93, 0.98), "calls per CPU time": Spread(12.5, 10, 104)}),
    ),
)


def test_every_second_round_is_measured_backwards() -> None:
    order: list[str] = []

    measured = interleaved(["a", "b", "c"], 3, lambda name: order.append(name) or len(order))  # type: ignore[func-returns-value]

    assert order == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert measured == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_a_ratio_is_the_median_of_the_ratios_within_a_round() -> None:
    # The machine was twice as fast in the last round: the ratio of the medians would be 1.5.
    found = ratios({"bare": [100, 100, 200], "other": [50, 150, 100]}, "bare")

    assert found == {"bare": Spread(1, 1, 1), "other": Spread(0.5, 0.5, 1.5)}


def test_a_target_says_whether_it_is_reached_or_nothing_when_it_was_not_measured() -> None:
    at_least = Target("fast", "stack", "hrpc & co", "calls", at_least=0.96)
    at_most = Target("small", "stack", "hrpc & co", "calls per CPU time", at_most=5)

    assert at_least.cells([TABLE]) == ["fast", "≥ 0.96", "0.96 (0.93–0.98)", "yes"]  # noqa: RUF001
    assert at_most.cells([TABLE]) == ["small", "≤ 5", "12.50 (10.00–104)", "no"]  # noqa: RUF001
    assert at_most.cells([]) is None


def test_every_target_is_of_a_server_that_is_measured() -> None:
    known = {variant.name for variant in (*STACK, DEFAULT, JOINED, with_methods(FULL, 200))} | {"hrpc"}

    assert {target.row for target in TARGETS} <= known


def test_rounds_that_are_missing_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios({"bare": [100, 100], "other": [50]}, "bare")


def test_a_spread_needs_no_odd_number_of_figures() -> None:
    assert Spread.of([4, 1, 3, 2]) == Spread(2.5, 1, 4)


def test_a_figure_is_shown_with_its_lowest_and_highest() -> None:
    assert shown(Spread(0.957, 0.93, 0.98)) == "0.96 (0.93–0.98)"  # noqa: RUF001
    assert shown(Spread(1, 1, 1)) == "1.00"
    assert shown(Spread(104.2, 27.04, 1000)) == "104 (27.0–1000)"  # noqa: RUF001
    assert shown(None) == ""


def test_the_text_of_a_table_has_its_columns_below_each_other() -> None:
    title, head, *rows = TABLE.text().splitlines()

    assert title == "Unary <calls>"
    assert [len(row) for row in rows] == [len(head)] * 2
    assert rows[1].startswith("hrpc & co  0.96 (0.93")


def test_a_table_comes_back_from_json() -> None:
    assert Table.from_json(json.loads(json.dumps(asdict(TABLE)))) == TABLE


def test_the_chart_is_well_formed_and_has_a_bar_for_each_server() -> None:
    drawing = ElementTree.fromstring(chart.drawn(TABLE, "calls"))

    space = {"svg": "http://www.w3.org/2000/svg"}
    widths = [float(bar.attrib["width"]) for bar in drawing.findall("svg:rect", space)[1:]]
    assert len(widths) == 2
    assert widths[1] / widths[0] == pytest.approx(0.957, rel=0.01)
    assert "hrpc & co" in [text.text for text in drawing.findall("svg:text", space)]


def test_the_page_names_the_machine_and_has_every_table() -> None:
    text = SERVING.written({"processor": "A 1"}, [TABLE], "make bench")

    assert "| processor | A 1 |" in text
    assert "| hrpc & co | 0.96 (0.93–0.98) | 12.50 (10.00–104) |" in text  # noqa: RUF001
    assert "`make bench`" in text
    assert "Where the time goes" in text
