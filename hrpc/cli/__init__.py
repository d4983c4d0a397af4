"""The command line: ``hrpc run module:server``. It needs click, which the extra ``hrpc[cli]`` brings."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Runs the command that ``sys.argv`` asks for, and exits with its code: 0, 1 for a failure, 2 for a wrong use."""
    if find_spec("click") is None:
        sys.exit("hrpc's command line needs click: pip install 'hrpc[cli]'")
    from hrpc.cli.command import run_command_line

    run_command_line()
