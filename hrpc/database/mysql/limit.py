"""Tells the server for how long it may work on a statement: what nobody waits for any more holds no locks."""

from __future__ import annotations

import re

from hrpc import context
from hrpc.database.mysql.settings import MySQLSettings

_MARGIN = 0.1
"""Seconds after the deadline: the call ends by its own clock first, and is told so."""
_SHORTEST = 0.05

# What changes the session, or ends a transaction, is not to be stopped half-way.
_LIMITED = re.compile(r"[\s(]*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH)\b", re.IGNORECASE)
_SELECT = re.compile(r"\A(\s*SELECT)\b(?!\s*/\*)", re.IGNORECASE)


class StatementLimit:
    """The limits as one server spells them."""

    __slots__ = ("_is_mariadb", "_read_timeout")

    def __init__(self, version: str, settings: MySQLSettings) -> None:
        self._is_mariadb = "mariadb" in version.lower()
        self._read_timeout = settings.read_timeout

    def of_session(self, seconds: float) -> str:
        """The statement that limits all that follow."""
        # MariaDB limits all statements, in seconds; MySQL those that only read, in milliseconds.
        if self._is_mariadb:
            return f"SET SESSION max_statement_time = {seconds:.3f}"
        return f"SET SESSION max_execution_time = {max(1, round(seconds * 1000))}"

    def until_deadline(self, sql: str) -> str:
        """The statement with the limit that the deadline of the current call sets, or as it is without one.

        See https://mariadb.com/kb/en/set-statement/ and
        https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html#optimizer-hints-execution-time.
        """
        call = context.current()
        remaining = None if call is None else call.time_remaining()
        if remaining is None or (self._read_timeout is not None and self._read_timeout <= remaining):
            return sql
        seconds = max(_SHORTEST, remaining + _MARGIN)
        if not self._is_mariadb:
            # A hint of the user's own would have to be in the same comment.
            return _SELECT.sub(rf"\1 /*+ MAX_EXECUTION_TIME({round(seconds * 1000)}) */", sql, count=1)
        return f"SET STATEMENT max_statement_time={seconds:.3f} FOR {sql}" if _LIMITED.match(sql) else sql
