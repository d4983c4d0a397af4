"""``hrpc drain``: has a running service leave without losing a call, as a signal would, and can wait until it is gone.

It is run as a hook before a container ends and by scripts that replace services, so it imports neither gRPC nor click.
"""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import ArgumentParser

from hrpc.cli import arguments
from hrpc.cli.reaching import Reached, ReachError, reach

TIMEOUT = 60.0
ANSWER_LIMIT = 5.0
"""Seconds in which the service has to say that it drains."""


def run(given: list[str]) -> int:
    """Runs the command; gives its exit code: 0 when the service drains, or with --wait has ended, else 1."""
    options = _parser().parse_args(given)
    began = time.monotonic()
    try:
        with reach(options.name, options.pid) as reached:
            if not options.wait:
                reached.ask("drain", timeout=min(options.timeout, ANSWER_LIMIT))
                print(f"{_named(reached)} drains")
                return 0
            _wait(reached, began, options.timeout)
            print(f"{_named(reached)} has ended, after {time.monotonic() - began:.1f} s")
    except ReachError as error:
        print(f"drain: {error}", file=sys.stderr)
        return 1
    return 0


def _wait(reached: Reached, began: float, timeout: float) -> None:
    """Tells how the drain goes until the service has ended. Raises `ReachError` when its time is over."""
    said, until = "", began + timeout
    late = f"{_named(reached)} has not ended within {timeout:g} s"
    ends = _ending(reached.pid)
    try:
        answers = reached.answers("drain", timeout=max(until - time.monotonic(), 0.001), progress=True)
        for answer in answers:
            if not answer["ok"]:
                raise ReachError(answer["error"])
            if answer["text"] != said:
                said = answer["text"]
                print(f"{_named(reached)} {said}", flush=True)
        # It answers until shortly before its end.
        if ends is not None and not ends.poll(max(until - time.monotonic(), 0.0) * 1000):
            raise ReachError(late)
    except ReachError as error:
        wrong = late if said and time.monotonic() >= until else error
        raise ReachError(f"{wrong}; the last that it said: {said or 'nothing'}") from None


def _ending(pid: int) -> select.poll | None:
    """What says when a process has ended; None where nothing does."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # of another system, or in another container
        return None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll


def _named(reached: Reached) -> str:
    return f"{reached.name} (pid {reached.pid})"


def _parser() -> ArgumentParser:
    parser = arguments.parser(
        "drain",
        "Has a service on this machine leave: not ready, deregistered, running calls end, then it exits. "
        "Exit code 0: it drains, or with --wait it has ended; 1: not so, or not there.",
    )
    parser.add_argument("--wait", action="store_true", help="until it has ended; meanwhile tells how it goes")
    parser.add_argument(
        "--timeout", type=arguments.seconds, default=TIMEOUT, help=f"seconds to wait at most, {TIMEOUT:g} by default"
    )
    return parser
