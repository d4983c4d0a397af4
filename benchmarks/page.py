"""docs/performance.md, from the results of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.results import Table

_HEAD = """# What it costs

{command} compares hrpc with other ways to serve gRPC with Python, and writes this page. All servers are up at once, on
one core, and are loaded one after another from the other core, in rounds whose order is reversed each time. The answers
of each are checked before and after. A figure is the median of the ratios within one round; its lowest and highest
round stand behind it. Differences under 5 % are noise, and only ratios mean anything on another machine. *Calls* are
those answered in a second; *calls per CPU time* are those that a second of the server's processor time is enough for.

![{title}](performance.svg)

| | |
|---|---|
{machine}
"""


def written(machine: Mapping[str, str], tables: Sequence[Table], command: str) -> str:
    """The page in Markdown."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in machine.items())
    head = _HEAD.format(command=f"`{command}`", title=tables[0].title, machine=rows)
    return "\n".join([head, *map(_section, tables)])


def _section(table: Table) -> str:
    lines = [["", *table.columns], ["---"] + ["--:"] * len(table.columns), *table.cells()]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {table.title}\n\n{table.about}\n\n{rows}\n"
