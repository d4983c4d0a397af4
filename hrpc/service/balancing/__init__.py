"""Which instance of a service a call goes to. Pure: no network, no Consul; the clock and the dice are handed in.

A `Balancer` belongs to one channel. It decides which endpoints may be called: those that are connected, not ejected,
and of the nearest zone that has enough; a picker then takes one of them for each call.
"""

from hrpc.service.balancing.balancer import Balancer
from hrpc.service.balancing.endpoint import Endpoint
from hrpc.service.balancing.reports import EndpointReport

__all__ = ["Balancer", "Endpoint", "EndpointReport"]
