"""A service that is probed by the command."""

from __future__ import annotations

import re
import subprocess

from examples.demo.process import Process
from tests.cli.conftest import Command

SERVICE = """
import asyncio, pathlib, time
import hrpc
from hrpc import health

async def hang():
    if pathlib.Path("hang").exists():
        await asyncio.Event().wait()

def block():
    async def block():
        print("blocks", flush=True)
        time.sleep(3600)
    if pathlib.Path("block").exists():
        hrpc.go(block())

health.check("index", lambda: not pathlib.Path("broken").exists())
health.check("peer", hang, timeout=30)
health.check("blocking", block, kind="startup")
server = hrpc.new_server(
    hrpc.with_server_name("{name}"), hrpc.with_listen_port(0, "127.0.0.1"), hrpc.with_health_check(0),
    hrpc.with_debug("0123456789abcdef"),
)
"""


def probe(command: Command, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs it; where the test names no limit, with one that a busy machine keeps."""
    return command("probe", "--timeout", "20", *arguments, **environ)


def started(command: Command, run_dir: str, name: str = "orders") -> Process:
    command.module(name, SERVICE.format(name=name))
    service = command.start("run", name, HRPC_RUN_DIR=run_dir)
    serving_line(service)
    return service


def serving_line(service: Process) -> str:
    return service.line(lambda line: "serves on port" in line, timeout=60)


def health_address(service: Process) -> str:
    found = re.search(r"health on (\d+)", serving_line(service))
    assert found is not None
    return f"127.0.0.1:{found[1]}"
