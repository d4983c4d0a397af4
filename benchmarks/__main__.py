"""``python -m benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import chart, comparisons, hot_loop, machine, memory, page, pieces, startup
from benchmarks.fleet import ROOT
from benchmarks.plan import Plan
from benchmarks.results import Table

PARTS: dict[str, Callable[[Plan], Table | list[Table]]] = {
    "stack": comparisons.stack,
    "metadata": comparisons.metadata,
    "methods": comparisons.methods,
    "connections": comparisons.connections,
    "payloads": comparisons.payloads,
    "streams": comparisons.streams,
    "hot-loop": hot_loop.hot_loop,
    "pieces": pieces.pieces,
    "imports": startup.imports,
    "starts": startup.starts,
    "memory": memory.memory,
}
QUIET = 0.5


def main() -> int:
    """Runs the parts that were asked for; writes the page when it was all of them, in full."""
    given = _arguments()
    if shutil.which("h2load") is None:
        print("h2load is missing; install nghttp2-client")
        return 1
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    load = machine.load_average()
    if load > QUIET:
        print(f"the machine is busy (load {load:.1f}): expect noise", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="hrpc-bench-") as folder:
        plan = Plan.quick(Path(folder)) if given.quick else Plan(Path(folder))
        plan = replace(plan, rounds=given.rounds or plan.rounds, seconds=given.seconds or plan.seconds)
        tables = list(_run(given.parts or PARTS, plan))
    is_whole = not given.quick and not given.parts
    output = ROOT / "benchmarks/results" if is_whole else ROOT / ".cache/benchmarks"
    described = {"day": time.strftime("%Y-%m-%d"), "load average before": f"{load:.1f}", **machine.described()}
    _write(described, tables, output, ROOT / "docs" if is_whole else output)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="short runs, to see that all works")
    parser.add_argument("--rounds", type=int, help="of each comparison")
    parser.add_argument("--seconds", type=float, help="of load on one server in one round")
    return parser.parse_args()


def _run(parts: Iterable[str], plan: Plan) -> Iterable[Table]:
    for part in parts:
        made = PARTS[part](plan)
        for table in made if isinstance(made, list) else [made]:
            print(f"{table.text()}\n", flush=True)
            yield table


def _write(described: dict[str, str], tables: list[Table], results: Path, docs: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    found = {"machine": described, "tables": [asdict(table) for table in tables]}
    (results / "latest.json").write_text(json.dumps(found, indent=1) + "\n")
    charted = next((table for table in tables if table.key == "stack"), None)
    if charted is not None:
        (docs / "performance.svg").write_text(chart.drawn(charted, "calls per CPU time"))
    (docs / "performance.md").write_text(page.written(described, tables, "make bench"))
    print(f"written: {results / 'latest.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    sys.exit(main())
