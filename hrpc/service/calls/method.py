"""A method of another service, as generated stubs call it: what is decided once for all its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from hrpc import context
from hrpc.rpc.breaker import Breaker
from hrpc.rpc.outgoing import Begin, Outgoing
from hrpc.service.balancing import Balancer
from hrpc.service.calls.call import Call
from hrpc.service.calls.counts import Counts
from hrpc.service.calls.retries import Retries
from hrpc.service.calls.signature import Signature

if TYPE_CHECKING:
    from hrpc.service.balanced_channel import Channel


class Method:
    """Makes the calls of one method of one service."""

    def __init__(
        self,
        channel: Channel,
        signature: Signature,
        call: Callable[..., Call],
        *,
        outgoing: Outgoing,
        balancer: Balancer,
        retries: Retries,
        counts: Counts,
    ) -> None:
        """`call` is the class of its calls."""
        self.channel = channel
        self.signature = signature
        self.outgoing = outgoing
        self.balancer = balancer
        self.retries = retries
        self.counts = counts
        self.breaker: Breaker | None = outgoing.breaker(signature.path, channel.name)
        self.begin: Begin | None = outgoing.tracing(signature.path, channel.name)
        self._call = call
        self._hash_key = balancer.settings.hash_key

    def call(
        self,
        request: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        """Makes a call; `request` is an iterator where the requests are a stream, or None to write them later."""
        self.counts.calls += 1
        if metadata is not None:
            metadata = tuple(metadata)  # it may be an iterator, and more than one attempt has to have it
        if context.current() is not None:
            timeout = self.outgoing.timeout(timeout)
        call = self._call(self, request, timeout, metadata, credentials, wait_for_ready, compression)
        call.start(timeout)
        return call

    def key_in(self, metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
        """What the balancer goes by, when it goes by something in the metadata of a call."""
        if self._hash_key is None:
            return None
        found = next((value for key, value in metadata if key == self._hash_key), None)
        return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else found
