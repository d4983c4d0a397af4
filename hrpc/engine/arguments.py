"""The settings of a server's connections in the terms of gRPC's core."""

from __future__ import annotations

from hrpc.option import Settings

Arguments = list[tuple[str, int]]


def arguments(settings: Settings, *, shared: bool = False) -> Arguments:
    """The channel arguments of a server (https://grpc.github.io/grpc/core/group__grpc__arg__keys.html)."""
    kept, limits = settings.keepalive, settings.message_limits
    found = [
        # SO_REUSEPORT is on by default, so that a second process would silently share the port (grpc#16920).
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", limits.receive),
        ("grpc.max_send_message_length", limits.send),
        ("grpc.keepalive_time_ms", milliseconds(kept.time)),
        # Not grpc.keepalive_timeout_ms: pings do not heed it. It is how long the kernel waits for bytes to be taken.
        ("grpc.http2.ping_timeout_ms", milliseconds(kept.timeout)),
        ("grpc.keepalive_permit_without_calls", int(kept.permit_without_stream)),
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(kept.minimum)),
    ]
    if kept.idle is not None:
        found.append(("grpc.max_connection_idle_ms", milliseconds(kept.idle)))
    if kept.age is not None:
        found.append(("grpc.max_connection_age_ms", milliseconds(kept.age)))
        found.append(("grpc.max_connection_age_grace_ms", milliseconds(kept.age_grace)))
    if settings.max_streams is not None:
        found.append(("grpc.max_concurrent_streams", settings.max_streams))
    return found


def milliseconds(seconds: float) -> int:
    """As many as gRPC can count; never 0, which some arguments take for "never"."""
    return max(1, min(round(seconds * 1000), 2**31 - 1))
