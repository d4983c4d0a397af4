"""hrpc with everything that belongs to the path of a call, or with all of it but one piece."""

from __future__ import annotations

from collections.abc import Sequence

import hrpc
from benchmarks.servers import echo

DEFAULT_TIMEOUT = 5.0

PIECES = ("audit", "metrics", "deadline")
"""What an option turns on or off. The context of a call, and an answer whatever its handler does, are always there."""


def pieces(without: Sequence[str] = ()) -> list[hrpc.Option]:
    """The options of all pieces but those named."""
    options = [hrpc.with_audit_log("audit" not in without)]
    if "metrics" not in without:
        options.append(hrpc.with_metrics(0))
    if "deadline" not in without:
        options.append(hrpc.with_default_timeout(DEFAULT_TIMEOUT))
    return options


def server(port: int, options: Sequence[hrpc.Option], methods: int = 1) -> hrpc.Server:
    """The server, not started."""
    made = hrpc.new_server(hrpc.with_server_name("echo"), hrpc.with_listen_port(port, "127.0.0.1"), *options)
    echo.register(made, methods)
    return made


if __name__ == "__main__":
    parser = echo.parser()
    parser.add_argument("--without", nargs="*", default=[], choices=PIECES)
    parser.add_argument("--engine", choices=("grpcio", "native"), default="grpcio")
    parser.add_argument("--tuned", action="store_true", help="uvloop and grpcio's fast settings")
    parser.add_argument("--health", action="store_true")
    parser.add_argument("--default", action="store_true", help="no option but the name and the port")
    parser.add_argument("--workers", type=int, default=1, help="how many processes serve")
    given = parser.parse_args()
    engine = hrpc.with_engine("grpcio", fast=given.tuned)
    if given.engine == "native":
        engine = hrpc.with_engine("native", allow_unbounded_receive=True)
    loop = hrpc.with_event_loop("uvloop" if given.tuned else "asyncio")
    options = [*pieces(given.without), engine, loop, hrpc.with_workers(given.workers)]
    if given.health:
        options.append(hrpc.with_health_check(0))
    server(given.port, [] if given.default else options, given.methods).serve()
