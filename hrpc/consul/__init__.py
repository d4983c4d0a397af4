"""The Consul adapter: registration, discovery and configuration through one client.

Imported only when a server uses Consul, since its libraries take a tenth of a second to load.
"""

from hrpc.consul.client import Client, connect

__all__ = ["Client", "connect"]
