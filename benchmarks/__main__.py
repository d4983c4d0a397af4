"""``python -m benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import chart, machine
from benchmarks.fleet import ROOT
from benchmarks.page import Measure, Page
from benchmarks.parts import PARTS
from benchmarks.plan import Plan
from benchmarks.results import Table
from hrpc.testing.servers.program import find_program

TABLES: dict[str, Measure] = {name: measure for page in PARTS.values() for name, measure in page.tables.items()}
QUIET = 0.5


def main() -> int:
    """Measures the tables that were asked for; writes the page of a part when it was all of its tables, in full."""
    given = _arguments()
    parts = [PARTS[given.part]] if given.part else list(PARTS.values())
    chosen = [(page, [name for name in page.tables if not given.tables or name in given.tables]) for page in parts]
    if find_program("h2load") is None and any("h2load" in page.programs and names for page, names in chosen):
        print("h2load is missing; install nghttp2-client")
        return 1
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    for page, names in chosen:
        if names:
            _measure(page, names, given)
    return 0


def _measure(page: Page, names: list[str], given: argparse.Namespace) -> None:
    load = machine.load_average()
    if load > QUIET:
        print(f"the machine is busy (load {load:.1f}): expect noise", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="hrpc-bench-") as folder:
        plan = Plan.quick(Path(folder)) if given.quick else Plan(Path(folder))
        plan = replace(plan, rounds=given.rounds or plan.rounds, seconds=given.seconds or plan.seconds)
        tables = list(_run(names, plan))
    is_whole = not given.quick and names == list(page.tables)
    output = ROOT / "benchmarks/results" if is_whole else ROOT / ".cache/benchmarks"
    described = {"day": time.strftime("%Y-%m-%d"), "load average before": f"{load:.1f}"}
    described |= machine.described(page.programs)
    command = "make bench" + (f" ARGS='--part {given.part}'" if given.part else "")
    _write(page, described, tables, output, ROOT / "docs" if is_whole else output, command)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], metavar="table", help=", ".join(TABLES))
    parser.add_argument("--part", choices=PARTS, help="only one of them; all when not given")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that all works")
    parser.add_argument("--rounds", type=int, help="of each comparison")
    parser.add_argument("--seconds", type=float, help="of load on one server in one round")
    return parser.parse_args()


def _run(names: Iterable[str], plan: Plan) -> Iterable[Table]:
    for name in names:
        made = TABLES[name](plan)
        for table in made if isinstance(made, list) else [made]:
            print(f"{table.text()}\n", flush=True)
            yield table


def _write(page: Page, described: dict[str, str], tables: list[Table], results: Path, docs: Path, command: str) -> None:
    results.mkdir(parents=True, exist_ok=True)
    found = {"machine": described, "tables": [asdict(table) for table in tables]}
    (results / page.results).write_text(json.dumps(found, indent=1) + "\n")
    charted = next((table for table in tables if table.key == page.charted), None)
    if charted is not None:
        (docs / page.path).with_suffix(".svg").write_text(chart.drawn(charted, "calls per CPU time"))
    (docs / page.path).write_text(page.written(described, tables, command))
    print(f"written: {results / page.results} and {docs / page.path}")


if __name__ == "__main__":
    sys.exit(main())
