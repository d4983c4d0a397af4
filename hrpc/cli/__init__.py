"""The command line: ``hrpc run module:server``. It needs click, which the extra ``hrpc[cli]`` brings.

The commands of `QUICK` need no more than hrpc itself, and import neither click nor gRPC.
"""

from __future__ import annotations

import sys
from importlib import import_module

QUICK = {
    "drain": "Has a running service leave without losing a call.",
    "probe": "Asks a running service how it is: startup, liveness or readiness.",
}
"""What the commands do that are run beside a service; each is a module here, whose ``run`` takes its arguments."""


def main() -> None:
    """Runs the command that ``sys.argv`` asks for, and exits with its code: 0, 1 for a failure, 2 for a wrong use."""
    if sys.argv[1:2] and sys.argv[1] in QUICK:
        try:
            sys.exit(run_quick(sys.argv[1], sys.argv[2:]))
        except KeyboardInterrupt:
            print("hrpc: interrupted", file=sys.stderr)
            sys.exit(130)
    from importlib.util import find_spec

    if find_spec("click") is None:
        sys.exit("hrpc's command line needs click: pip install 'hrpc[cli]'")
    from hrpc.cli.command import run_command_line

    run_command_line()


def run_quick(command: str, arguments: list[str]) -> int:
    """Runs one of `QUICK`; gives its exit code."""
    code: int = import_module(f"hrpc.cli.{command}").run(arguments)
    return code
