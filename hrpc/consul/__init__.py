"""The Consul adapter: registration, discovery and configuration through one client.

Imported only when a server uses Consul, since its libraries take a tenth of a second to load.
"""

from hrpc import _runtime
from hrpc.consul.client import Client, connect

__all__ = ["Client", "connect", "get", "slot"]

slot = _runtime.Slot[Client]("Consul", "hrpc.with_consul(…)")


def get() -> Client:
    """The client of the running server, for plugins. Raises `NotRunning` without `hrpc.with_consul`."""
    return slot.get()
