"""The services of the demo, each instance a process of its own on ports of 127.0.0.1."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from examples.demo import screen
from examples.demo.interrupts import Interrupts
from examples.demo.process import Process, ProcessFailed
from hrpc.testing.servers import ServerFailed, reserved_port


@dataclass
class Instance:
    """One running instance, and where it answers."""

    process: Process
    grpc: str
    health: str
    metrics: str


class Services:
    """Starts services beside one Consul; they end with `stack`."""

    def __init__(self, stack: ExitStack, interrupts: Interrupts, consul: str, logs: Path) -> None:
        self._stack = stack
        self._interrupts = interrupts
        self._environ = {"CONFIGS_ADDR": consul}
        self._logs = logs
        self.instances: list[Instance] = []

    def run(self, module: str) -> None:
        """Runs a module to its end. Raises `ProcessFailed`."""
        process = self._process(module.rpartition(".")[2], ["-m", module], {})
        if code := process.wait(60):
            raise ProcessFailed(f"python -m {module} ended with code {code}:\n{process.tail()}")

    def start(self, name: str, log: str, *, usual_ports: bool = False) -> Instance:
        """Starts ``examples.{name}.app:server``, on the ports that hrpc has by default where they are free."""
        ports = [self._port(usual if usual_ports else None) for usual in (8888, 6688, 2112)]
        grpc, health, metrics = ports
        process = self._process(
            log,
            ["-m", "hrpc.cli", "run", f"examples.{name}.app:server", "--host", "127.0.0.1", "--port", str(grpc)],
            {"HEALTH_PORT": str(health), "METRICS_PORT": str(metrics)},
        )
        instance = Instance(process, *(f"127.0.0.1:{port}" for port in ports))
        self.instances.append(instance)
        return instance

    def end_together(self, *instances: Instance) -> None:
        """When their turn comes at the end, these are asked to end at the same time."""

        def ask() -> None:
            for instance in instances:
                instance.process.ask_to_end()

        self._stack.callback(ask)

    def check(self) -> None:
        """Raises `ProcessFailed` when an instance has ended by itself, and `Interrupted`."""
        self._interrupts.check()
        for instance in self.instances:
            if not instance.process.running():
                raise ProcessFailed(f"{instance.process.name} has ended:\n{instance.process.tail()}")

    def _process(self, name: str, arguments: list[str], environ: Mapping[str, str]) -> Process:
        self._interrupts.check()
        process = Process(name, arguments, self._environ | dict(environ), self._logs / f"{name}.log")
        self._stack.callback(self._end, process)
        return process

    def _end(self, process: Process) -> None:
        code = process.end()
        if any(instance.process is process for instance in self.instances):
            screen.row(process.name, f"ended with code {code}")

    def _port(self, usual: int | None) -> int:
        if usual is not None:
            try:
                return self._stack.enter_context(reserved_port(usual))
            except ServerFailed:
                pass
        return self._stack.enter_context(reserved_port())
