"""For tests of services: an embedded Consul agent, values in the place of databases, and servers under control.

Real servers are in `hrpc.testing.servers`.
"""

from hrpc.testing.assertions import assert_call_error, assert_service_error
from hrpc.testing.consul import DevConsul
from hrpc.testing.manager import Managed, managed
from hrpc.testing.provide import provide

__all__ = ["DevConsul", "Managed", "assert_call_error", "assert_service_error", "managed", "provide"]
