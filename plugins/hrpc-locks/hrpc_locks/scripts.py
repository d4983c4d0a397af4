"""What Redis does for a lock, at once and alone: scripts in Lua, each of which is one round trip.

The keys of a lock have its name as their hash tag, so that they are in one place of a cluster:

| key | what |
|---|---|
| ``…:holders`` | a sorted set: who holds it, by when that ends |
| ``…:writers``, ``…:readers`` | sorted sets: who waits, by when they came |
| ``…:waiting`` | a sorted set: who waits, by when they count as gone unless they ask again |
| ``…:token`` | the last token |
| ``…:left`` | a sorted set: who has left, while an answer was on its way, and must not get the lock any more |

All times are those of Redis' own clock, in milliseconds. A name of a holder is ``{w or r}:{process}:{number}``.

A token is the last one + 1, or the time in microseconds, whichever is more. So it grows also when the last one is gone,
with a database that was emptied, or a replica that did not have it; and no key has to be kept for ever. It stays below
2^53, where numbers of Lua are whole, until the year 2255.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

from redis.exceptions import NoScriptError

_COMMON = """
local holders, writers, readers, waiting, last, left = unpack(KEYS)
local me, ttl = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)
local is_writer = string.sub(me, 1, 1) == 'w'

local function keep(key, of)
  local latest = redis.call('ZRANGE', of, -1, -1, 'WITHSCORES')[2]
  if latest then redis.call('PEXPIREAT', key, string.format('%.0f', latest)) end
end

local function next_number()
  local number = math.max((tonumber(redis.call('GET', last)) or 0) + 1, micros)
  number = string.format('%.0f', number)
  redis.call('SET', last, number, 'PX', KEPT)
  return number
end

local function forget(one)
  redis.call('ZREM', waiting, one)
  return redis.call('ZREM', writers, one) + redis.call('ZREM', readers, one)
end

local function sweep()
  local ended = redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now)) do ended = ended + forget(one) end
  return ended > 0
end

-- Where channels are forbidden, those who wait ask more often.
local function tell(one)
  redis.pcall('PUBLISH', ARGV[3] .. string.match(one, '^.:([^:]*):'), one)
end

-- Tells those whose turn it is. They ask again; one that is gone is passed over when its time is over.
local function wake()
  local holder = redis.call('ZRANGE', holders, 0, 0)[1]
  if holder and string.sub(holder, 1, 1) == 'w' then return end
  local writer = redis.call('ZRANGE', writers, 0, 0, 'WITHSCORES')
  local first = redis.call('ZRANGEBYSCORE', readers, '-inf', writer[2] and ('(' .. writer[2]) or '+inf')
  for _, one in ipairs(first) do tell(one) end
  if #first == 0 and not holder and writer[1] then tell(writer[1]) end
end
""".replace("KEPT", str(24 * 3600 * 1000))

ACQUIRE: Final = (
    _COMMON
    + """
local has_ended = sweep()
if redis.call('ZSCORE', left, me) then return {-1, 0, 0, 0} end
local mine = redis.call('ZSCORE', is_writer and writers or readers, me)
local before = mine and ('(' .. mine) or '+inf'
local ahead = redis.call('ZCOUNT', writers, '-inf', before)
if is_writer then ahead = ahead + redis.call('ZCOUNT', readers, '-inf', before) end
local held = redis.call('ZCARD', holders)
local has = redis.call('ZSCORE', holders, me)
local is_free = has or held == 0
  or (not is_writer and string.sub(redis.call('ZRANGE', holders, 0, 0)[1], 1, 1) == 'r')
if has or (is_free and ahead == 0) then
  if mine then forget(me) end
  redis.call('ZADD', holders, now + ttl, me)
  keep(holders, holders)
  local token = next_number()
  if has_ended and not is_writer then wake() end
  return {1, token, 0, 0}
end
if ARGV[4] == '1' then
  if not mine then redis.call('ZADD', is_writer and writers or readers, next_number(), me) end
  redis.call('ZADD', waiting, now + ttl, me)
  keep(waiting, waiting)
  keep(writers, waiting)
  keep(readers, waiting)
end
if has_ended then wake() end
local ends = redis.call('ZRANGE', holders, 0, 0, 'WITHSCORES')[2] or now + ttl
local gone = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or now + ttl
return {0, math.max(1, math.min(ends - now, gone - now)), held, ahead}
"""
)
"""Gives 1 and the token; or 0, milliseconds after which it may be free, how many hold it, and how many are before; or
-1 to one that has left. With ``1`` as the last argument, one that does not get it waits in line."""

RELEASE: Final = (
    _COMMON
    + """
local has_ended = sweep()
local had = redis.call('ZREM', holders, me)
local waited = forget(me)
if ARGV[4] == '1' then
  redis.call('ZREMRANGEBYSCORE', left, '-inf', now)
  redis.call('ZADD', left, now + ttl, me)
  keep(left, left)
end
if has_ended or had + waited > 0 then wake() end
return had
"""
)
"""Gives 1 to one that has held it until now, else 0. With ``1`` as the last argument, it will not get it any more."""

RENEW: Final = (
    _COMMON
    + """
if sweep() then wake() end
if not redis.call('ZSCORE', holders, me) then return 0 end
redis.call('ZADD', holders, now + ttl, me)
keep(holders, holders)
return 1
"""
)
"""Gives 1 to one that holds it, and goes on to, else 0."""

_DIGESTS = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (ACQUIRE, RELEASE, RENEW)
}


class Place(NamedTuple):
    """Where a lock is: its keys, and what the channels of processes that wait begin with."""

    keys: tuple[str, ...]
    channel: str

    @classmethod
    def of(cls, prefix: str, name: str) -> Place:
        """Of a lock in an environment."""
        lock = f"{prefix}:locks:{{{name}}}"
        parts = ("holders", "writers", "readers", "waiting", "token", "left")
        return cls(tuple(f"{lock}:{part}" for part in parts), f"{prefix}:locks:wake:")


async def run(client: Any, script: str, place: Place, me: str, ttl: float, flag: bool = False) -> Any:
    """One round trip of a client of redis-py; two when Redis does not know the script, as when it has just started."""
    arguments = (len(place.keys), *place.keys, me, round(ttl * 1000), place.channel, int(flag))
    try:
        return await client.evalsha(_DIGESTS[script], *arguments)
    except NoScriptError:
        return await client.eval(script, *arguments)
