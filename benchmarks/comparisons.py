"""Servers compared under load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks import fleet, rounds
from benchmarks.load import OF_A_CALLER, Answered, Load, put
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.variants import BARE, CALLED, ENGINES, FULL, NAIVE, STACK, WORKED, Variant, with_methods, with_workers

WARM_UP = 100
"""Calls before anything is measured."""


def stack(plan: Plan) -> Table:
    """Everything, unary, small, and without metadata."""
    return _compared(
        plan,
        "stack",
        "Unary calls, 4 connections with 16 streams each",
        "Requests of 100 bytes without metadata.",
        STACK,
        Load(),
    )


def metadata(plan: Plan) -> Table:
    """With what a caller of the same kind sends along."""
    return _compared(
        plan,
        "metadata",
        "The same, as another service calls",
        "Each request carries `hrpc_md_message`, `traceparent` and a deadline of 5 s.",
        CALLED,
        Load(headers=OF_A_CALLER),
    )


def methods(plan: Plan) -> Table:
    """Whether the number of methods matters."""
    variants = [with_methods(variant, count) for variant in (FULL, BARE) for count in (1, 50, 200)]
    return _compared(
        plan,
        "methods",
        "1, 50 and 200 methods",
        f"Compared with {variants[0].name}.",
        variants,
        Load(),
    )


def connections(plan: Plan) -> Table:
    """Many clients."""
    return _compared(
        plan,
        "connections",
        "1,000 connections",
        f"One stream each, {plan.calls_of_many:,} calls in all, the connecting included.",
        ENGINES,
        Load(connections=1000, streams=1),
        plan.calls_of_many,
    )


def payloads(plan: Plan) -> list[Table]:
    """Small, middling and large messages."""
    return [
        _compared(
            plan,
            f"payload-{size}",
            f"Payloads of {name}",
            f"The request and its answer have {name} each; {connections} connections with {streams} streams each.",
            ENGINES,
            Load(connections, streams, size),
        )
        for name, size, connections, streams in (
            ("100 B", 100, 4, 16),
            ("10 KB", 10_000, 4, 16),
            ("1 MB", 1_000_000, 4, 1),
        )
    ]


def streams(plan: Plan) -> Table:
    """Server streams."""
    return _compared(
        plan,
        "streams",
        "Server streams of 100 messages",
        "Messages of 100 bytes; 4 connections with 4 streams each.",
        ENGINES,
        Load(connections=4, streams=4, repeated=100),
    )


def workers(plan: Plan) -> list[Table]:
    """What a second process brings, and costs."""
    return [
        _compared(
            plan,
            f"workers-{key}",
            f"Two workers against one: {variant.name}",
            "32 connections with 4 streams each. The load and the workers share all cores: where there are two, it "
            "takes from both workers what it would leave to one. Processor time is that of all its processes.",
            [with_workers(variant, count) for count in (1, 2)],
            Load(connections=32, streams=4),
        )
        for key, variant in WORKED.items()
    ]


def _compared(
    plan: Plan, key: str, title: str, about: str, variants: Sequence[Variant], load: Load, calls: int = 0
) -> Table:
    with fleet.all_running(variants, plan.folder) as instances:

        def measure(name: str) -> Answered:
            return put(instances[name], load, plan.folder, seconds=0 if calls else plan.seconds, calls=calls)

        for instance in instances.values():
            put(instance, replace(load, connections=1), plan.folder, calls=WARM_UP)
        answered = rounds.interleaved(list(instances), plan.rounds, measure)
    baseline = variants[0].name
    rates = {name: [one.rate for one in own] for name, own in answered.items()}
    by_rate = rounds.ratios(rates, baseline)
    by_cpu = rounds.ratios({name: [1 / one.cpu for one in own] for name, own in answered.items()}, baseline)
    columns = {"calls": by_rate, "calls per CPU time": by_cpu}
    if NAIVE in variants:
        columns[f"against {NAIVE.name}"] = rounds.ratios(rates, NAIVE.name)
    rows = [Row(name, {column: figures[name] for column, figures in columns.items()}) for name in instances]
    return Table(key, title, about, tuple(rows))
