"""What a run has found: tables of figures, as text, and as the JSON that the page is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.rounds import Spread


@dataclass(frozen=True)
class Row:
    """The figures of one server, by the name of their column."""

    name: str
    figures: Mapping[str, Spread]


@dataclass(frozen=True)
class Table:
    """The figures of one question."""

    key: str
    title: str
    about: str
    rows: tuple[Row, ...]

    @property
    def columns(self) -> list[str]:
        """The names of its figures, in their order."""
        return list(dict.fromkeys(column for row in self.rows for column in row.figures))

    def cells(self) -> Iterable[list[str]]:
        """A line for each row: its name, and its figures with their spread."""
        for row in self.rows:
            yield [row.name, *(shown(row.figures.get(column)) for column in self.columns)]

    def text(self) -> str:
        """For a terminal."""
        lines = [["", *self.columns], *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = ("  ".join([name.ljust(widths[0]), *map(str.rjust, figures, widths[1:])]) for name, *figures in lines)
        return "\n".join([self.title, *rows])

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made of one."""
        rows = [
            Row(row["name"], {name: Spread(**figure) for name, figure in row["figures"].items()})
            for row in value["rows"]
        ]
        return cls(value["key"], value["title"], value["about"], tuple(rows))


def shown(figure: Spread | None) -> str:
    """The median, and in brackets the lowest and the highest when they are others."""
    if figure is None:
        return ""
    if figure.low == figure.high:
        return _rounded(figure.median)
    return f"{_rounded(figure.median)} ({_rounded(figure.low)}–{_rounded(figure.high)})"  # noqa: RUF001


def _rounded(figure: float) -> str:
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.1f}" if abs(figure) >= 20 else f"{figure:.2f}"
