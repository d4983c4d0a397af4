"""docs/performance.md, from the results of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.results import Table
from benchmarks.targets import TARGETS

_PROFILE = Path(__file__).with_name("profile.md")

_HEAD = """# What it costs

{command} compares hrpc with other ways to serve gRPC with Python, and writes this page. All servers are up at once, on
one core, and are loaded one after another from the other core, in rounds whose order is reversed each time. The answers
of each are checked before and after. A figure is the median of the ratios within one round; its lowest and highest
round stand behind it. Differences under 5 % are noise, and only ratios mean anything on another machine. *Calls* are
those answered in a second; *calls per CPU time* are those that a second of the server's processor time is enough for.
The two are the same where nothing else runs; the second is less disturbed where something does.

![{title}](performance.svg)

| | |
|---|---|
{machine}
"""


def written(machine: Mapping[str, str], tables: Sequence[Table], command: str) -> str:
    """The page in Markdown."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in machine.items())
    head = _HEAD.format(command=f"`{command}`", title=tables[0].title, machine=rows)
    return "\n".join([head, _targets(tables), *map(_section, tables), _PROFILE.read_text()])


def _targets(tables: Sequence[Table]) -> str:
    found = [cells for target in TARGETS if (cells := target.cells(tables)) is not None]
    return f"## What was to be reached\n\n{_table([['', 'to reach', 'measured', 'reached'], *found])}\n"


def _section(table: Table) -> str:
    return f"## {table.title}\n\n{table.about}\n\n{_table([['', *table.columns], *table.cells()])}\n"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|---|{'--:|' * (len(lines[0]) - 1)}", *rows])
