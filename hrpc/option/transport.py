"""How connections are kept, and how much may go over them."""

from __future__ import annotations

from typing import Literal

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import Keepalive, MessageLimits, Option


def with_message_limits(*, receive: int = 4 * 1024 * 1024, send: int = 4 * 1024 * 1024) -> Option:
    """How large one message may be, in bytes; 4 MiB each way when not given.

    It holds for the calls that are served and for those that go out through ``service.channel``. A message above a
    limit ends its call with RESOURCE_EXHAUSTED, and no other. The other side has limits of its own: gRPC's default is 4
    MiB for what is received (https://grpc.github.io/grpc/core/group__grpc__arg__keys.html). Raises `OptionError`.

    ::

        hrpc.with_message_limits(receive=16 * 1024 * 1024)
    """
    option = "hrpc.with_message_limits"
    limits = MessageLimits(checks.count(option, "receive", receive), checks.count(option, "send", send))
    return Option("with_message_limits", {"message_limits": limits})


def with_keepalive(
    *,
    time: float = 10.0,
    timeout: float = 2.0,
    minimum: float = 5.0,
    permit_without_stream: bool = True,
    idle: float | None = None,
    age: float | None = None,
    age_grace: float = 5.0,
) -> Option:
    """When a connection is asked for a sign of life, and when it is closed; all in seconds.

    After `time` without a byte from the other side a ping is sent, and after another `timeout` without its answer the
    connection is given up. A client that pings more often than every `minimum` seconds is sent away with GOAWAY
    "too_many_pings". `permit_without_stream`: both also while no call runs, so that a connection that nobody uses lives
    and is known to live. The connections to instances of other services are kept by the same `time` and `timeout`, but
    are pinged no more often than those instances allow: hrpc registers its `minimum`; others are taken to have gRPC's
    default of five minutes.

    `idle` and `age` close a connection after so many seconds without a call, or altogether, as a load balancer that
    balances connections may need; callers connect again by themselves. A call that still runs `age_grace` seconds after
    the end of an `age` fails with UNAVAILABLE, and so does every stream that lasts longer than both: without these two,
    no connection is closed for its age. The terms are those of
    https://github.com/grpc/grpc/blob/master/doc/keepalive.md.

    ::

        hrpc.with_keepalive(time=30, age=300, age_grace=60)

    Raises `OptionError`.
    """
    option = "hrpc.with_keepalive"
    if not isinstance(permit_without_stream, bool):
        raise OptionError(f"{option}(permit_without_stream={permit_without_stream!r}): takes True or False")
    keepalive = Keepalive(
        checks.seconds(option, "time", time, 0.001),
        checks.seconds(option, "timeout", timeout, 0.001),
        checks.seconds(option, "minimum", minimum),
        permit_without_stream,
        None if idle is None else checks.seconds(option, "idle", idle, 0.001),
        None if age is None else checks.seconds(option, "age", age, 0.001),
        checks.seconds(option, "age_grace", age_grace),
    )
    return Option("with_keepalive", {"keepalive": keepalive})


def with_compression(algorithm: Literal["gzip", "deflate"]) -> Option:
    """Compress responses for callers that accept it. Without this option nothing is; requests are read either way.

    It costs far more time than it saves, unless messages are large and the network is slow. Raises `OptionError`.
    """
    if algorithm not in ("gzip", "deflate"):
        raise OptionError(f'hrpc.with_compression({algorithm!r}): takes "gzip" or "deflate"')
    return Option("with_compression", {"compression": algorithm})


def with_max_streams(number: int) -> Option:
    """How many calls one connection may carry at a time; without this option as many as the client sends.

    Calls above it wait in the client, so that one client cannot take a server for itself
    (SETTINGS_MAX_CONCURRENT_STREAMS, https://www.rfc-editor.org/rfc/rfc9113#section-5.1.2, which recommends no less
    than 100). Raises `OptionError`.
    """
    return Option("with_max_streams", {"max_streams": checks.count("hrpc.with_max_streams", "number", number, 1)})
