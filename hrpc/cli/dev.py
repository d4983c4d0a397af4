"""The Consul of ``hrpc run --dev``: a fake agent in this process, shared by all services of the machine run so."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException

from loguru import logger

from hrpc.cli.errors import UsageError
from hrpc.errors import PortTaken
from hrpc.testing.consul.devconsul import NODE, DevConsul

PORT = 8500
"""Consul's own port: the one where another service's agent is looked for."""

_ANSWER_LIMIT = 2.0


@contextmanager
def dev_consul() -> Iterator[str]:
    """Sets CONFIGS_ADDR to a fake agent, and gives one line about it.

    It is this process' own on `PORT`; when a fake agent has that port already, that one; and when something else has
    it, this process' own on any free port. Raises `UsageError` when CONFIGS_ADDR is set already.
    """
    if given := os.environ.get("CONFIGS_ADDR"):
        raise UsageError(f"--dev brings a Consul of its own, and CONFIGS_ADDR={given} names another: leave one out")
    with ExitStack() as stack:
        address, line = _found_or_started(stack, PORT)
        os.environ["CONFIGS_ADDR"] = address
        stack.callback(os.environ.pop, "CONFIGS_ADDR", None)
        yield line


def _found_or_started(stack: ExitStack, port: int) -> tuple[str, str]:
    wanted = f"127.0.0.1:{port}"
    try:
        address = _started(stack, port)
    except PortTaken:
        if _is_fake(wanted):
            return wanted, f"joins the fake Consul at http://{wanted}, which another process runs"
        address = _started(stack, 0)
        return address, f"runs a fake Consul at http://{address}, because {wanted} is in use by something else"
    return address, f"runs a fake Consul at http://{address}; it forgets everything at its end"


def _started(stack: ExitStack, port: int) -> str:
    # The command says where it listens, in a line for people.
    logger.disable("hrpc.testing.consul")
    try:
        return stack.enter_context(DevConsul.in_thread(port)).address
    finally:
        logger.enable("hrpc.testing.consul")


def _is_fake(address: str) -> bool:
    # A proxy that the environment names is for other machines.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/v1/agent/self", timeout=_ANSWER_LIMIT) as answer:
            found = json.load(answer)
        return bool(found["Config"]["NodeName"] == NODE)
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return False
