"""What a channel uses, whatever it is inside."""

from __future__ import annotations

from hrpc.service import Channel


def endpoints(channel: Channel) -> set[str]:
    """The ``host:port`` of each instance that calls over this channel may go to now."""
    return {endpoint.instance.endpoint for endpoint in channel.balancer.endpoints}
