"""For tests of services: an embedded Consul agent, and values in the place of databases.

Real servers are in `hrpc.testing.servers`.
"""

from hrpc.testing.consul import DevConsul
from hrpc.testing.provide import provide

__all__ = ["DevConsul", "provide"]
