"""Tells the errors of the driver apart: the server is away, it refuses us, or the statement is wrong.

Numbers below 2000 and above 3000 are the server's, those of 2000 the client's; see
https://dev.mysql.com/doc/mysql-errors/8.0/en/ and https://mariadb.com/kb/en/mariadb-error-codes/.
"""

from __future__ import annotations

from hrpc.database.mysql.settings import MySQLSettings
from hrpc.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable

CUT_OFF = frozenset(
    {
        1053,  # server shutdown in progress
        1077,  # normal shutdown
        1152,  # aborted connection
        1927,  # MariaDB: connection was killed
        2002,  # cannot connect through the socket
        2003,  # cannot connect to the host
        2006,  # server has gone away
        2013,  # connection lost during a query
        2055,  # connection lost, with the system's error
        4031,  # MySQL: disconnected because of inactivity
    }
)
_FULL = frozenset(
    {
        1040,  # too many connections
        1203,  # too many connections of this user
        1226,  # a limit of this user is reached
    }
)
TOO_SLOW = frozenset(
    {
        1969,  # MariaDB: max_statement_time exceeded
        3024,  # MySQL: max_execution_time exceeded
    }
)
ROLLED_BACK = frozenset(
    {
        1020,  # MariaDB: record has changed since last read (innodb_snapshot_isolation)
        1213,  # deadlock
    }
)
_WRONG_LOGIN = frozenset({1045, 1698})
_WRONG_DATABASE = frozenset({1044, 1049})
_WRONG_PLUGIN = frozenset({1251, 1275, 2059, 2061})


def number(error: BaseException) -> int | None:
    """The error's number, if it has one."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def not_connected(settings: MySQLSettings, error: BaseException) -> DatabaseError:
    """What an error while connecting means."""
    code, place = number(error), settings.place
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable(
            f"{place}: no connection within {settings.connect_timeout:g} s (connect_timeout); "
            "check the address, the port and the network"
        )
    if code in CUT_OFF or isinstance(error, OSError):
        reason = error.__cause__ or error
        return DatabaseUnavailable(f"{place}: cannot connect: {reason}; check that the server runs, address and port")
    if code in _FULL:
        return DatabaseUnavailable(
            f"{place}: {_text(error)}; raise the limit of the server, or lower max_open_conns "
            f"({settings.max_open_conns} per process)"
        )
    return DatabaseRefused(f"{place}: user {settings.username!r} is not let in: {_text(error)}; {_fix(settings, code)}")


def _fix(settings: MySQLSettings, code: int | None) -> str:
    if code in _WRONG_LOGIN:
        return f"check 'username' and 'password' in {settings.origin}"
    if code in _WRONG_DATABASE:
        return f"check 'dbname' in {settings.origin}, create the database, or grant the user access to it"
    if code in _WRONG_PLUGIN:
        return "give the user a password of mysql_native_password or caching_sha2_password"
    return f"check 'address' and 'port' in {settings.origin}, and that a MySQL or MariaDB server listens there"


def _text(error: BaseException) -> str:
    return f"{error.args[1]} ({error.args[0]})" if number(error) and len(error.args) > 1 else str(error) or repr(error)
