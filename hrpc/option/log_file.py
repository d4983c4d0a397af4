"""The option of the log's file."""

from __future__ import annotations

import os

from hrpc.errors import OptionError
from hrpc.option.settings import Option


def with_log_file(path: str | os.PathLike[str]) -> Option:
    """All lines of the log go to the end of this file, as JSON, and not to stdout.

    On SIGHUP it is opened anew, so that logrotate may have renamed it. While it cannot be opened or written to, as when
    its folder is missing or the disk is full, the service goes on: lines go to stdout, and stderr says why. Raises
    `OptionError` for what is no absolute path.

    ::

        hrpc.with_log_file("/var/log/orders/orders.log")
    """
    if not isinstance(path, str | os.PathLike) or not os.path.isabs(found := os.fspath(path)):
        raise OptionError(f"hrpc.with_log_file({path!r}): takes an absolute path, such as /var/log/orders.log")
    return Option("with_log_file", {"log_file": found})
