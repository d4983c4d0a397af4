"""How many processes serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hrpc.errors import OptionError

ENVIRONMENT = "HRPC_WORKERS"
MOST = 1024

WorkerCount = int | Literal["auto"]


def checked(origin: str, count: object) -> WorkerCount:
    """A number of processes, or "auto". Raises `OptionError`."""
    if count == "auto" or (type(count) is int and 1 <= count <= MOST):
        return count
    raise OptionError(f'{origin}: takes a number from 1 to {MOST}, or "auto", not {count!r}')


def from_environment(count: WorkerCount, environ: Mapping[str, str]) -> WorkerCount:
    """Lays ``HRPC_WORKERS`` over what the code gives. Raises `OptionError`."""
    given = environ.get(ENVIRONMENT, "").strip()
    return checked(ENVIRONMENT, int(given) if given.isdecimal() else given) if given else count
