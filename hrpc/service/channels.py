"""The channels of one running server: one for each selection of instances and way to balance."""

from __future__ import annotations

from collections.abc import Hashable

from hrpc.metrics.measures import Measures
from hrpc.option import BalancerSettings, Settings
from hrpc.option.balancing import checked
from hrpc.rpc.outgoing import Outgoing
from hrpc.service.balanced_channel import Channel, Source
from hrpc.service.balancing import EndpointReport
from hrpc.service.calls import counts
from hrpc.service.calls.counts import Counts
from hrpc.service.connections import Connections


class Channels:
    """Makes each once, by what the options say."""

    def __init__(self, settings: Settings, connections: Connections, outgoing: Outgoing) -> None:
        self._settings = settings
        self._connections = connections
        self._outgoing = outgoing
        self._counts: dict[str, Counts] = {}
        self._channels: dict[tuple[Hashable, BalancerSettings], Channel] = {}
        self._first: dict[Hashable, Channel] = {}

    def channel(self, key: Hashable, source: Source, balancer: BalancerSettings | None = None) -> Channel:
        """The channel to the instances of `source`, which `key` tells from others; balanced as the options say, or as
        `balancer` does. Raises `OptionError`."""
        s = self._settings
        balancer = s.balancers.of(source.name) if balancer is None else checked("service.channel: balancer", balancer)
        channel = self._channels.get((key, balancer))
        if channel is None:
            channel = self._channels[key, balancer] = Channel(
                source,
                self._connections,
                self._outgoing,
                balancer=balancer,
                zone=s.registration.zone,
                retry=s.retry,
                hedging=s.hedging,
                counts=self._counts.setdefault(source.name, Counts()),
            )
            self._first.setdefault(key, channel)
        return channel

    def rows(self, key: Hashable) -> dict[str, EndpointReport]:
        """What a channel to `key` gives to each ``host:port``; of several, the one that was made first."""
        channel = self._first.get(key)
        return {} if channel is None else {row.endpoint: row for row in channel.balancer.rows()}

    def end(self) -> None:
        """The server stops: calls that wait for an instance fail."""
        for channel in self._channels.values():
            channel.end()

    def measure(self, measures: Measures) -> None:
        """Adds what is told of the calls when metrics are scraped."""
        counts.measure(measures, lambda: self._counts)
