"""A map in memory with a life for each entry, a size limit, single-flight loading and statistics.

::

    users: hrpc_inmemory.Map[int, User] = hrpc_inmemory.Map("users", max_life=60.0, max_size=10_000)

    server = hrpc.new_server(..., hrpc_inmemory.with_maps(users))       # for metrics, and to end with the server

    user = await users.get_or_load(7, fetch_user)                       # fetch_user(7), once for all who ask meanwhile
"""

from hrpc_inmemory.errors import LoadCancelled, LoadTimeout
from hrpc_inmemory.map import Map
from hrpc_inmemory.plugin import InMemory, with_maps
from hrpc_inmemory.statistics import Statistics

__all__ = ["InMemory", "LoadCancelled", "LoadTimeout", "Map", "Statistics", "with_maps"]
