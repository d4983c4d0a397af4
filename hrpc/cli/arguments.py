"""What the quick commands are given. It is argparse, because click takes longer to import than they take to run."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

WIDTH = 100
"""Columns of the help: asking for those of the terminal imports modules, also when no help is wanted."""


class _Parser(ArgumentParser):
    """Says in one line what is wrong, as the other commands do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"hrpc: {message}. See {self.prog} --help\n")


def parser(command: str, description: str, epilog: str | None = None) -> ArgumentParser:
    """A parser that knows which of several services is meant."""
    made = _Parser(
        f"hrpc {command}",
        description=description,
        epilog=epilog,
        formatter_class=partial(HelpFormatter, width=WIDTH),
    )
    made.add_argument("--name", help="the service with this name, where several run")
    made.add_argument("--pid", type=int, help="the service with this process id")
    return made


def seconds(text: str) -> float:
    """A time that is given in an argument. Raises `ArgumentTypeError`."""
    try:
        given = float(text)
    except ValueError:
        given = math.nan
    if not 0 < given < math.inf:
        raise ArgumentTypeError(f"{text!r} is no time: seconds, more than 0")
    return given
