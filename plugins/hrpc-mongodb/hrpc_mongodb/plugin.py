"""The database as a plugin, so that its name is enough: ``hrpc.with_plugins("hrpc-mongodb")``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import hrpc
from hrpc.plugin import Plugin

if TYPE_CHECKING:
    from hrpc_mongodb.settings import MongoDBOptions


class MongoDB(Plugin):
    """The same as ``hrpc.with_databases(hrpc_mongodb.new(…))``, with the same arguments."""

    name = "hrpc-mongodb"

    def __init__(self, **settings: Unpack[MongoDBOptions]) -> None:
        """Raises `OptionError` and `InvalidConfig`, as `new`."""
        from hrpc_mongodb import new

        self.options: Sequence[hrpc.Option] = (hrpc.with_databases(new(**settings)),)
