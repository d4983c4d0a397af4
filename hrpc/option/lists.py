"""Those settings that several may add to: what one gives does not replace what another one gave before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_LISTS = frozenset(
    {
        "databases",
        "exit_listeners",
        "interceptors",
        "message_queues",
        "plugins",
        "post_run",
        "pre_run",
        "restart_listeners",
        "upstreams",
    }
)


def add(settings: dict[str, Any], later: Mapping[str, Any]) -> None:
    """Changes `settings` to what `later` says; lists of both follow each other."""
    for name, value in later.items():
        if name in settings and name in _LISTS:
            settings[name] = (*settings[name], *value)
        elif name in settings and name == "hosted":
            before = settings[name]
            longest = max(_seconds(before.max_shutdown), _seconds(value.max_shutdown))
            settings[name] = value._replace(
                services=(*before.services, *value.services), max_shutdown=None if longest == math.inf else longest
            )
        else:
            settings[name] = value


def _seconds(limit: float | None) -> float:
    return math.inf if limit is None else limit
