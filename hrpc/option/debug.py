"""Who may ask the health port what the server knows of itself: the value that `with_debug` makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from hrpc.errors import OptionError

SHORTEST_TOKEN = 16
"""Characters; what is shorter can be guessed by asking often enough."""


class DebugSettings(NamedTuple):
    """Who may read ``/debug/…`` on the health port. See `with_debug`. The token never appears in a repr."""

    token: str | None = None
    loopback: bool = True

    def __repr__(self) -> str:
        return f"DebugSettings(token={'None' if self.token is None else '***'}, loopback={self.loopback})"


def checked_token(origin: str, token: object) -> str:
    """A token that can be sent in a header and is not guessed. Raises `OptionError`, which does not show it."""
    if isinstance(token, str) and re.fullmatch(rf"[!-~]{{{SHORTEST_TOKEN},}}", token):
        return token
    raise OptionError(
        f"{origin}: takes at least {SHORTEST_TOKEN} ASCII characters without spaces; `openssl rand -hex 16` makes one"
    )


def from_environment(debug: DebugSettings, environ: Mapping[str, str]) -> DebugSettings:
    """Lays ``HRPC_DEBUG_TOKEN`` over what the code gives. Raises `OptionError`."""
    token = environ.get("HRPC_DEBUG_TOKEN")
    return debug._replace(token=checked_token("HRPC_DEBUG_TOKEN", token)) if token else debug
