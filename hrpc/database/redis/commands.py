"""What a trace tells of a command: its name, never a key or a value."""

from __future__ import annotations

import re
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline

from hrpc.abc import RequestSpan, Tracer
from hrpc.database.redis.settings import RedisSettings

_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
# redis-py hands these over in one text with their second word; in any other, what follows is an argument.
_WITH_SUBCOMMANDS = frozenset(
    {
        *("ACL", "CLIENT", "CLUSTER", "CONFIG", "FUNCTION", "LATENCY", "MEMORY"),
        *("MODULE", "OBJECT", "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO"),
    }
)


class Commands:
    """Begins the spans of the commands of one pool."""

    def __init__(self, tracer: Tracer, settings: RedisSettings) -> None:
        self._tracer = tracer
        self._place: dict[str, str | int] = {
            "db.system.name": "redis",
            "db.namespace": str(settings.db),
            "server.address": settings.address,
        }
        if settings.network == "tcp" and len(settings.servers) == 1:
            self._place["server.address"], self._place["server.port"] = settings.servers[0]

    def begin(self, command: object) -> RequestSpan:
        """The span of one command; its first argument is its name."""
        name = named(command)
        return self._tracer.request(name, {**self._place, "db.operation.name": name})

    def begin_batch(self, name: str, size: int) -> RequestSpan:
        """The span of a pipeline or a transaction."""
        attributes = {**self._place, "db.operation.name": name}
        # https://opentelemetry.io/docs/specs/semconv/db/database-spans/: a batch of one is no batch.
        return self._tracer.request(name, attributes if size == 1 else {**attributes, "db.operation.batch.size": size})


def named(command: object) -> str:
    """The name of a command, in capitals."""
    text = command.decode("ascii", "replace") if isinstance(command, bytes) else str(command)
    words = text[:100].upper().split()
    taken = words[: 2 if words and words[0] in _WITH_SUBCOMMANDS else 1]
    return " ".join(taken) if taken and all(map(_NAME.fullmatch, taken)) else "COMMAND"


class Traced:
    """A client of redis-py whose commands are traced."""

    commands: Commands

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        span = self.commands.begin(args[0])
        try:
            answer = await super().execute_command(*args, **options)  # type: ignore[misc]
        except BaseException as error:
            span.end(error)
            raise
        span.end()
        return answer

    def pipeline(self: Any, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _TracedPipeline(self.commands, self.connection_pool, self.response_callbacks, transaction, shard_hint)


class TracedRedis(Traced, Redis):  # type: ignore[misc]
    """A plain client whose commands are traced."""

    def __init__(self, commands: Commands, pool: ConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.commands = commands


class _TracedPipeline(Pipeline):
    def __init__(self, commands: Commands, *args: Any) -> None:
        super().__init__(*args)
        self.commands = commands

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        span = self.commands.begin(args[0])
        try:
            answer = await super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except BaseException as error:
            span.end(error)
            raise
        span.end()
        return answer

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        if not self.command_stack:
            return await super().execute(raise_on_error)
        name = "MULTI" if self.is_transaction or self.explicit_transaction else "PIPELINE"
        span = self.commands.begin_batch(name, len(self.command_stack))
        try:
            answers = await super().execute(raise_on_error)
        except BaseException as error:
            span.end(error)
            raise
        span.end()
        return answers
