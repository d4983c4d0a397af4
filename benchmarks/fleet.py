"""The servers, each a process of its own on the same core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import answers, machine
from benchmarks.variants import Variant
from hrpc.testing.servers import reserved_port

ROOT = Path(__file__).parents[1]
END_LIMIT = 30.0
_FOREIGN = ("CONFIGS_", "CONSUL_", "HRPC_", "GRPC_", "PYTHONDONTWRITEBYTECODE")


def environ() -> dict[str, str]:
    """That of this process, less what would change a server; modules are compiled once, as installed ones are."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


class Instance:
    """A running server."""

    def __init__(self, variant: Variant, port: int, output: Path) -> None:
        self.variant = variant
        self.port = port
        self._output = output
        module = f"benchmarks.servers.{variant.module}"
        command = [sys.executable, "-m", module, "--port", str(port), *variant.arguments]
        with output.open("w") as file:
            self._process = subprocess.Popen(
                machine.pinned(None if variant.spread else machine.SERVER_CORE, *command),
                cwd=ROOT,
                env=environ() | dict(variant.environ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Seconds of processor time that it has taken so far, in all of its threads and processes."""
        return sum(map(cpu_seconds, with_descendants(self.pid)))

    def resident_megabytes(self) -> float:
        """Its memory."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise ChildProcessError(f"{self.variant.name} has ended")

    def tail(self) -> str:
        """The last lines that it has printed."""
        return "\n".join(self._output.read_text().splitlines()[-12:])

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        self._process.terminate()
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process has taken so far."""
    # What clock_getcpuclockid(3) gives on Linux: Python has no function for other processes.
    return time.clock_gettime((~pid << 3) | 2)


def with_descendants(pid: int) -> Iterator[int]:
    """A process, those that it has started, those that these have started, and so on."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in _children(thread):
            yield from with_descendants(int(child))


def _children(thread: Path) -> list[str]:
    try:
        return (thread / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed: gRPC's threads come and go
        return []


@contextmanager
def running(variant: Variant, folder: Path) -> Iterator[Instance]:
    """Starts one server, with its output in a file of `folder`. Raises `answers.WrongAnswer` when it is not one."""
    with reserved_port() as port:
        instance = Instance(variant, port, folder / f"{port}.log")
        try:
            try:
                answers.check(port, instance.running)
            except answers.WrongAnswer as error:
                raise answers.WrongAnswer(f"{variant.name}: {error}\n{instance.tail()}") from None
            yield instance
        finally:
            instance.end()


@contextmanager
def all_running(variants: Iterable[Variant], folder: Path) -> Iterator[dict[str, Instance]]:
    """Starts them all, by their names. At the end their answers are checked once more."""
    with ExitStack() as stack:
        instances = {variant.name: stack.enter_context(running(variant, folder)) for variant in variants}
        yield instances
        for name, instance in instances.items():
            try:
                answers.check(instance.port, instance.running)
            except answers.WrongAnswer as error:
                raise answers.WrongAnswer(f"{name}, after the load: {error}\n{instance.tail()}") from None
