"""The servers of one database, of which one is in use: the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hrpc.abc import endpoint
from hrpc.recipe.servers import Server


class Addresses:
    """All connections of a pool go to one server; when it cannot be used, to the next, and so on in a circle.

    There is no way back by itself: where both servers take writes, going back and forth would split the data, and where
    only one does, it says so.
    """

    def __init__(self, servers: Sequence[Server], place: str, moved: Callable[[], None]) -> None:
        """`moved` is called when another server is in use, so that connections to the one before can be closed."""
        self._servers = tuple(servers)
        self._at = 0
        self._place = place
        self._moved = moved

    @property
    def now(self) -> Server:
        """The one in use."""
        return self._servers[self._at]

    def in_turn(self) -> tuple[Server, ...]:
        """The one in use, then the others in the order in which they are tried."""
        return self._servers[self._at :] + self._servers[: self._at]

    def use(self, server: Server, why: object) -> None:
        """This one has taken a connection where those before it have not."""
        if server != self.now:
            self._go(self._servers.index(server), why)

    def leave(self, server: Server, why: object) -> None:
        """This one does not do what it should: the next connection goes to another one, if there is one."""
        if server == self.now and len(self._servers) > 1:
            self._go((self._at + 1) % len(self._servers), why)

    def _go(self, to: int, why: object) -> None:
        from loguru import logger  # with its libraries, which a service imports anyway

        before, self._at = self.now, to
        logger.warning("{}: goes from {} to {}: {}", self._place, endpoint(*before), endpoint(*self.now), why)
        self._moved()
