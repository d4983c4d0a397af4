"""Which files matter, and what is said when they change."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

from hrpc.cli.errors import CommandError

SUFFIXES = (".py", ".proto")

IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
"""Folders of what nobody edits; so are those whose names begin with a dot."""

_STEP = 50
"""Milliseconds without a change after which those before it are told of: an editor or git makes many at once."""
_DEBOUNCE = 1000
"""Milliseconds after which they are told of at the latest."""


def check_installed() -> None:
    """Raises `CommandError` when the package that watches is missing."""
    if find_spec("watchfiles") is None:
        raise CommandError("--reload needs watchfiles: pip install 'hrpc[reload]'")


async def changes(folders: Sequence[Path]) -> AsyncIterator[set[Path]]:
    """The files that have changed, again and again; those of a while in which nobody looked come together.

    Raises `CommandError` when a folder cannot be watched.
    """
    from watchfiles import awatch

    try:
        async for found in awatch(*folders, watch_filter=None, debounce=_DEBOUNCE, step=_STEP):
            changed = {path for _, name in found if matters(path := Path(name), folders)}
            if changed:
                yield changed
    except OSError as error:
        raise CommandError(f"--reload cannot watch {', '.join(map(str, folders))}: {error}") from error


def matters(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a change of the file is one of the service."""
    if path.suffix not in SUFFIXES:
        return False
    return any(
        path.is_relative_to(folder)
        and not any(part.startswith(".") or part in IGNORED for part in path.relative_to(folder).parts)
        for folder in folders
    )


def told(changed: Collection[Path]) -> str:
    """The files as words."""
    names = sorted(os.path.relpath(path) for path in changed)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def not_generated(changed: Collection[Path]) -> list[str]:
    """One line for each proto file whose generated code is older than it."""
    lines = []
    for proto in sorted(path for path in changed if path.suffix == ".proto"):
        code = proto.with_name(f"{proto.stem}_pb2.py")
        try:
            is_older = code.stat().st_mtime < proto.stat().st_mtime
        except OSError:
            continue
        if is_older:
            lines.append(f"{told([code])} is older than {proto.name}: generate it again, hrpc does not")
    return lines
