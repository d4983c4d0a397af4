"""A service that ``hrpc doctor`` examines, and what it finds."""

from __future__ import annotations

import subprocess

from tests.cli.conftest import Command

SERVICE = """
import hrpc
from hrpc.database import mysql

server = hrpc.new_server(
    hrpc.with_server_name("orders"), hrpc.with_consul(), hrpc.with_listen_port({port}, "127.0.0.1"),
    hrpc.with_health_check({health}), {more}
)
"""

Lines = list[tuple[str, str, str]]


def service(command: Command, port: int = 0, health: int = 0, more: str = "") -> None:
    """The module ``app`` that is examined."""
    command.module("app", SERVICE.format(port=port, health=health, more=more))


def findings(done: subprocess.CompletedProcess[str]) -> Lines:
    """Level, subject and text of each line."""
    assert done.stderr == ""
    split = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return [(level, subject, text) for level, subject, text in split]


def of(lines: Lines, subject: str) -> list[tuple[str, str]]:
    return [(level, text) for level, found, text in lines if found == subject]
