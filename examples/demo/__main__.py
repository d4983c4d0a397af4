"""``make demo``: two greeters and an orders service beside real servers, a few calls, and what to try next.

With ONCE=1 in the environment it ends after the calls, else with Ctrl-C. Its exit code is 0 unless something failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from examples.demo import calls, consul, screen, servers
from examples.demo.interrupts import Interrupted, Interrupts
from examples.demo.process import ProcessFailed
from examples.demo.services import Instance, Services
from hrpc.testing.servers import ServerFailed


def main() -> int:
    """Runs the demo and gives its exit code."""
    interrupts = Interrupts()
    try:
        with ExitStack() as stack:
            stack.callback(screen.heading, "All of it has ended")
            try:
                show(stack, interrupts)
                if os.environ.get("ONCE") != "1":
                    screen.heading("Ctrl-C ends the demo")
                    interrupts.wait()
            finally:
                screen.heading("Ending, the callers first")
    except Interrupted:
        return 0
    except (ProcessFailed, ServerFailed) as error:
        # A terminal sends Ctrl-C to the programs as well that a server's start runs.
        if interrupts.has_come:
            return 0
        print(error, file=sys.stderr)
        return 1
    return 0


def show(stack: ExitStack, interrupts: Interrupts) -> None:
    """Starts everything, makes the calls, and shows what there is."""
    began = time.monotonic()
    logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hrpc-demo-")))
    screen.heading("Servers")
    found = servers.start(stack, interrupts)
    services = Services(stack, interrupts, found.consul, logs)
    greeters, orders = _start_services(found, services)
    for line in found.missing:
        screen.note(f"without the orders service: {line}")
    if orders is None:
        calls.say_hello(greeters)
    else:
        calls.place_orders(orders, greeters)
    _show_probes(orders or greeters[0])
    _show_next(found.consul, orders, greeters, logs)
    screen.note(f"ready after {time.monotonic() - began:.1f} s")


def _start_services(found: servers.Servers, services: Services) -> tuple[list[Instance], Instance | None]:
    if not found.missing:
        services.run("examples.orders.migrate")
    screen.heading("Services, as Consul lists them")
    greeters = [services.start("greeter", f"greeter{number}") for number in (1, 2)]
    services.end_together(*greeters)
    _show_instances(found.consul, "greeter", 2, services)
    if found.missing:
        return greeters, None
    orders = services.start("orders", "orders", usual_ports=True)
    _show_instances(found.consul, "orders", 1, services)
    return greeters, orders


def _show_instances(address: str, name: str, count: int, services: Services) -> None:
    for entry in consul.wait_for_instances(address, name, count, services.check):
        service = entry["Service"]
        where = f"{service['Address']}:{service['Port']}"
        check = next(check for check in entry["Checks"] if check["ServiceID"] == service["ID"])
        screen.row(name, where, check["Status"], f"tags {', '.join(service['Tags'])}")


def _show_probes(instance: Instance) -> None:
    screen.heading(f"Probes of {instance.process.name}")
    parts = consul.get(f"http://{instance.health}/healthx/readiness")["parts"]
    screen.row("health", f"http://{instance.health}/healthx/readiness", ", ".join(f"{k} {v}" for k, v in parts.items()))
    screen.row("metrics", f"http://{instance.metrics}/metrics")


def _show_next(address: str, orders: Instance | None, greeters: list[Instance], logs: Path) -> None:
    screen.heading("Try, in another terminal")
    caller = orders or greeters[0]
    if orders is not None:
        limits = f"http://{address}/v1/kv/development/services/orders/limits"
        screen.row("call", f"{os.path.relpath(sys.executable)} -m examples.client {orders.grpc}")
        screen.row("change", f"""curl -X PUT -d '{{"cents": 100}}' {limits}""", "and call again: it is refused")
        screen.row("explain", f"curl http://{orders.health}/debug/discovery")
    screen.row("probe", f"curl http://{caller.health}/healthx/readiness")
    screen.row(
        "measure", f"curl -s http://{caller.metrics}/metrics | grep -E '^(orders_placed|grpc_server_handled)_total'"
    )
    screen.row("look up", f"{os.path.relpath(sys.executable)} -m hrpc.cli services greeter --consul {address}")
    screen.row("stop one", f"kill {greeters[0].process.pid}", "and call again: greeter2 answers alone")
    screen.row("read", f"tail -f {logs}/*.log")


if __name__ == "__main__":
    sys.exit(main())
