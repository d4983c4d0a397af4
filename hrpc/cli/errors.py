"""What the command line tells in one line.

::

    CommandError                a failure, exit code 1
    └── UsageError              the command was used wrongly, exit code 2
"""

from __future__ import annotations

from hrpc.errors import HrpcError


class CommandError(HrpcError):
    """The command failed."""

    exit_code = 1


class UsageError(CommandError):
    """The command was used wrongly."""

    exit_code = 2
