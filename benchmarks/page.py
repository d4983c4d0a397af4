"""The pages in docs/, from the results of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plan import Plan
from benchmarks.results import Table
from benchmarks.targets import Target

Measure = Callable[[Plan], Table | list[Table]]


@dataclass(frozen=True)
class Page:
    """One part of the benchmark, with a page of its own."""

    path: str
    """Of the page, below docs/."""
    results: str
    """The file of its figures, below benchmarks/results/."""
    tables: Mapping[str, Measure]
    targets: Sequence[Target]
    head: Path
    """The Markdown that it begins with; the command, the machine and the title of the chart are filled in."""
    tail: Path | None = None
    charted: str | None = None
    """The table that is drawn as well."""
    programs: Sequence[str] = ()
    """What is used beside Python, whose versions are told."""

    def written(self, machine: Mapping[str, str], tables: Sequence[Table], command: str) -> str:
        """The page in Markdown."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in machine.items())
        head = self.head.read_text().format(command=f"`{command}`", title=tables[0].title, machine=rows)
        tail = [] if self.tail is None else [self.tail.read_text()]
        return "\n".join([head, self._reached(tables), *map(_section, tables), *tail])

    def _reached(self, tables: Sequence[Table]) -> str:
        found = [cells for target in self.targets if (cells := target.cells(tables)) is not None]
        return f"## What was to be reached\n\n{_table([['', 'to reach', 'measured', 'reached'], *found])}\n"


def _section(table: Table) -> str:
    return f"## {table.title}\n\n{table.about}\n\n{_table([['', *table.columns], *table.cells()])}\n"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|---|{'--:|' * (len(lines[0]) - 1)}", *rows])
