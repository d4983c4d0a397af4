"""Re-entrant read/write locks on Redis, renewed while they are held, with fencing tokens.

::

    server = hrpc.new_server(..., hrpc.with_databases(redis.new()), hrpc_locks.with_locks())

    async with hrpc_locks.write("orders/7", timeout=5) as held:
        await mysql.get().execute("UPDATE … WHERE id = 7 AND fence < %s", held.token)

    async with hrpc_locks.read("prices"):
        ...
"""

from hrpc_locks.errors import LockError, LockLost, LockTimeout, LockUnavailable, LockUpgrade
from hrpc_locks.held import Held
from hrpc_locks.locks import Lock, Locks
from hrpc_locks.plugin import RedisLocks, read, with_locks, write

__all__ = [
    "Held",
    "Lock",
    "LockError",
    "LockLost",
    "LockTimeout",
    "LockUnavailable",
    "LockUpgrade",
    "Locks",
    "RedisLocks",
    "read",
    "with_locks",
    "write",
]
