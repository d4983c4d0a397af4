"""``hrpc run --dev`` on a port of the test, and the Consul that it uses."""

from __future__ import annotations

import re
from typing import Any

from examples.demo import consul as asked
from examples.demo.process import Process

# The port of --dev is one for the whole machine, so the tests take another.
DEV = """
import sys
import hrpc.cli
import hrpc.cli.dev

hrpc.cli.dev.PORT = int(sys.argv.pop(1))
hrpc.cli.main()
"""


def agent_of(process: Process) -> str:
    """The address of the Consul that --dev says it uses."""
    found = re.search(r"http://([\d.:]+\d)", process.line(lambda line: line.startswith("hrpc --dev: ")))
    assert found
    return found[1]


def listed(agent: str, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = asked.get(f"http://{agent}/v1/health/service/{name}?passing")
    return [entry["Service"] for entry in entries]
