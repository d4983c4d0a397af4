"""How the demo writes to the terminal: headings, aligned rows, and notes."""

from __future__ import annotations

import sys

_WIDTHS = (8, 17)
_IS_TERMINAL = sys.stdout.isatty()


def heading(text: str) -> None:
    """The title of a part."""
    print(f"\n{_styled('1', text)}", flush=True)


def row(name: str, *cells: str) -> None:
    """A name and what belongs to it, in columns."""
    first, second = _WIDTHS
    padded = [f"{cell:<{second}}" for cell in cells[:-1]] + list(cells[-1:])
    print(f"  {name:<{first}} {'  '.join(padded)}".rstrip(), flush=True)


def note(text: str) -> None:
    """Something beside the rows."""
    print(_styled("2", f"  {text}"), flush=True)


def _styled(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _IS_TERMINAL else text
