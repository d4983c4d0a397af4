"""The Consul that a command asks: the one that the environment names, unless its options say otherwise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import click
from loguru import logger

from hrpc.cli.errors import UsageError
from hrpc.errors import ConsulError, ConsulUnreachable, OptionError
from hrpc.option import Consul
from hrpc.option.consul import from_environment

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def consul_options(command: F) -> F:
    """Gives a command ``--consul``, ``--token-file`` and ``--datacenter``."""
    for option in (
        click.option("--datacenter", metavar="NAME", help="The datacenter to ask for, instead of the agent's own."),
        click.option("--token-file", metavar="PATH", help="A file with the ACL token."),
        click.option("--consul", metavar="ADDRESS", help="The agent, instead of the one that CONFIGS_ADDR names."),
    ):
        command = option(command)
    return command


def chosen_consul(
    own: Consul | None,
    consul: str | None,
    token_file: str | None,
    datacenter: str | None,
    environ: Mapping[str, str] | None = None,
) -> Consul:
    """`own`, changed by the environment, and that by the options. Raises `UsageError`."""
    found = from_environment(own or Consul(), os.environ if environ is None else environ)
    assert found is not None
    changes: dict[str, Any] = {"address": consul, "token_file": token_file, "datacenter": datacenter}
    changes = {name: value for name, value in changes.items() if value is not None}
    if token_file is not None:
        changes["token"] = None
    try:
        return replace(found, **changes)
    except OptionError as error:
        raise UsageError(f"--consul: {error}") from None


def with_remedy(error: ConsulError) -> str:
    """What it says and, where nobody answers, what to do; a handshake that fails says so itself."""
    from hrpc.consul.tls import tls_fault

    if not isinstance(error, ConsulUnreachable) or tls_fault(error.__cause__) is not None:
        return str(error)
    return f"{error}; start Consul there, or say where it is with --consul or CONFIGS_ADDR"


def ask(asking: Coroutine[Any, Any, T]) -> T:
    """Runs it without hrpc's log: a command says what happened in lines of its own."""
    logger.disable("hrpc")
    try:
        return asyncio.run(asking)
    finally:
        logger.enable("hrpc")
