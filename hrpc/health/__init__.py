"""Health: what the server says of itself, to whoever watches it.

Three probes ask, over HTTP, gRPC and by command: startup (has it started?), liveness (should it be killed?) and
readiness (does it want calls?). Each passes when its switch is open and all of its checkers pass.

::

    from hrpc import health

    health.check("index", index.is_loaded)                            # readiness fails until it gives True
    health.check("consumer", consumer.ping, kind="liveness", timeout=2.0)
    health.check("licence", ask_the_vendor, every=60)                 # asked in the background, and not by probes

    health.close("readiness", "rebuilding the index")                 # until health.open("readiness")
    health.set_serving("orders.v1.Reports", False)                    # one service, for those who ask over gRPC
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

# The commands that ask for health import what is beside this module, and have no time for gRPC: so each function
# imports what it needs.


def check(
    name: str,
    function: Callable[[], Awaitable[object] | object],
    *,
    kind: str = "readiness",
    timeout: float = 1.0,
    every: float | None = None,
) -> None:
    """Lets probes of a kind ask `function`: it fails when it raises, gives False, or takes longer than `timeout` s.

    A sync function runs in a thread. Probes ask while the server serves; one answer is good for a second, however many
    ask. With `every`, the function is asked in the background, about every so many seconds, and probes are told what it
    said last. What it raises is shown by the probes and written to the log.

    In a running server the checker belongs to this one life. Outside of one, as at import, it belongs to every life
    that begins after it. Raises `OptionError`, also for a name that the kind has already.
    """
    from hrpc.health import registering

    registering.check(name, function, kind, timeout, every)


def close(kind: str, reason: str = "by the service") -> None:
    """Lets probes of a kind fail, whatever its checkers say. Raises `OptionError`, and `NotRunning`.

    While readiness is closed, the gRPC health service says NOT_SERVING. Any thread of the server may close and open.
    """
    from hrpc.health import registering

    registering.current().close(registering.kind("health.close", kind), registering.reason("health.close", reason))


def open(kind: str) -> None:
    """Lets probes of a kind ask its checkers again. Raises `OptionError`, and `NotRunning`."""
    from hrpc.health import registering

    registering.current().open(registering.kind("health.open", kind))


def set_serving(service: str, serving: bool) -> None:
    """Says whether one gRPC service, ``package.Service``, wants calls: what the gRPC health service says of it.

    That of the empty name is the server as a whole. Who watches is told. It changes nothing else: calls are served,
    and readiness asks its checkers. Raises `OptionError`, and `NotRunning`.
    """
    from hrpc.health import registering

    registering.current().set_serving(registering.service("health.set_serving", service), serving)
