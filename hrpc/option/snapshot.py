"""The option for starts without Consul."""

from __future__ import annotations

import os

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import Option, SnapshotSettings


def with_snapshot(path: str | os.PathLike[str], max_age: float = 86400.0, secrets: bool = False) -> Option:
    """Keep what Consul says in a file, so that a start works while Consul is away: KV values and instances of services.

    A value is used when Consul does not answer and confirmed it at most `max_age` seconds ago. The file is written with
    mode 600, in a folder that has to be there. Settings of databases, and other keys that may hold secrets, are only in
    it with `secrets`; without them, a start that needs such a key fails while Consul is away.

    ::

        hrpc.with_snapshot("/var/lib/orders/consul.snapshot")
    """
    option = "hrpc.with_snapshot"
    if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in os.fspath(path):
        raise OptionError(f"{option}({path!r}): takes the path of a file")
    if not isinstance(secrets, bool):
        raise OptionError(f"{option}(secrets={secrets!r}): takes True or False")
    age = checks.seconds(option, "max_age", max_age, 1.0)
    return Option("with_snapshot", {"snapshot": SnapshotSettings(os.fspath(path), age, secrets)})
