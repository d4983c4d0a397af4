"""The text that names servers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hrpc.abc import endpoint

Server = tuple[str, int]
"""Host and port."""

_SERVER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s@/\[\]():,]+))(?::(\d{1,5}))?")
_IPV6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


def parsed(value: object, port: int) -> list[Server] | None:
    """``"a,b:3307"`` or ``["a", "b:3307"]`` as hosts with their ports, `port` where none is told; None for else."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        return None
    found = []
    for part in parts:
        if not isinstance(part, str) or not part.isprintable():
            return None
        text = part.strip()
        if _IPV6.fullmatch(text):
            found.append((text, port))
            continue
        match = _SERVER.fullmatch(text)
        if match is None or not 0 < int(match[3] or port) < 65536:
            return None
        found.append((match[1] or match[2], int(match[3] or port)))
    return found


def joined(value: str | Sequence[str]) -> str:
    """The text form of what `parsed` takes."""
    return value if isinstance(value, str) else ",".join(value)


def told(servers: Sequence[Server]) -> str:
    """For errors and logs: ``a:3306,b:3306``."""
    return ",".join(endpoint(*server) for server in servers)
