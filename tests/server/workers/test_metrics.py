"""The metrics of all workers are told as one, whatever happens to one of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from time import monotonic

import aiohttp
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from hrpc.server.workers.gathering import ANSWER_LIMIT
from tests.echo import SERVICE, call
from tests.eventually import eventually
from tests.metrics.scraping import OPENMETRICS, Samples, value
from tests.server.workers.fleet import Fleet, fleet

METRICS = "hrpc.with_metrics(0)"
WHO = {"grpc_service": SERVICE, "grpc_method": "Who", "grpc_type": "unary"}
OWN = """
from hrpc import metrics
from prometheus_client import Counter
metrics.register_counter("paid", "Paid.")
metrics.register_gauge("waiting", "Waiting.", workers="sum")
metrics.register_gauge("warm", "Warm.")
others = Counter("others", "Others.")
metrics.incr("paid", 100)
others.inc(100)

async def measure(request, context):
    metrics.incr("paid")
    metrics.set("waiting", 3)
    metrics.set("warm", hrpc.worker())
    others.inc()
    return str(hrpc.worker()).encode()

add_echo(server, Measure=measure)
"""


async def scraped(service: Fleet, **headers: str) -> str:
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"http://127.0.0.1:{service.http('metrics')}/metrics") as response:
            assert response.status == 200
            return await response.text()


async def samples(service: Fleet) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(await scraped(service))
        for sample in family.samples
    }


async def started(service: Fleet) -> float:
    return value(await samples(service), "grpc_server_started_total", **WHO)


async def called(service: Fleet, times: int) -> dict[int, int]:
    """The processes that have answered, by number."""
    return dict([await service.who() for _ in range(times)])


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_calls_to_all_workers_are_one_sum(tmp_path: Path, engine: str) -> None:
    async with fleet(tmp_path, METRICS, engine=engine) as service:
        answering: dict[int, int] = {}
        calls = 0
        while len(answering) < 2:
            answering |= await called(service, 5)
            calls += 5
        found = await samples(service)
        assert value(found, "grpc_server_started_total", **WHO) == calls
        assert value(found, "grpc_server_handled_total", **WHO, grpc_code="OK") == calls
        assert value(found, "grpc_server_handling_seconds_count", **WHO) == calls
        assert value(found, "hrpc_workers", state="ready") == 2
        assert value(found, "hrpc_workers", state="silent") == 0
        assert value(found, "hrpc_worker_restarts_total") == 0
        assert value(found, "process_open_fds", worker="1") > 0
        assert value(found, "process_open_fds", worker="master") > 0
        assert value(found, "process_cpu_seconds_total") > 0
        families = openmetrics.text_string_to_metric_families(await scraped(service, Accept=OPENMETRICS))
        assert "grpc_server_handling_seconds" in [family.name for family in families]


async def test_calls_in_flight_are_those_of_all_workers(tmp_path: Path) -> None:
    async with fleet(tmp_path, METRICS) as service, service.channel() as one, service.channel() as other:
        held = [asyncio.ensure_future(call(channel, "Hold", b"60")) for channel in (one, other)]
        await service.says("held", times=2)
        found = await samples(service)
        assert value(found, "grpc_server_in_flight", **WHO | {"grpc_method": "Hold"}) == 2
        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_metrics_of_the_service_are_added_up_and_what_was_before_the_fork_counts_once(tmp_path: Path) -> None:
    async with fleet(tmp_path, METRICS, after=OWN) as service:
        answered = set[bytes]()
        calls = 0
        while len(answered) < 2:
            async with service.channel() as channel:
                answered.add(await call(channel, "Measure"))
            calls += 1
        found = await samples(service)
    assert value(found, "tested_paid_total") == 100 + calls
    assert value(found, "others_total") == 100 + calls
    assert value(found, "tested_waiting") == 6
    assert [value(found, "tested_warm", worker=number) for number in ("1", "2")] == [1, 2]
    assert ("tested_warm", frozenset({("worker", "master")})) not in found


async def test_counts_do_not_fall_when_a_worker_is_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path, METRICS) as service:
        answering = await service.all_answer()
        before = await started(service)
        assert before >= 2
        os.kill(answering[1], signal.SIGKILL)
        await service.become(without=answering[1])
        await service.all_answer()
        at_death, before = before, await started(service)
        assert before > at_death
        for _ in range(3):
            await called(service, 1)
            now = await started(service)
            assert now == before + 1
            before = now
        found = await samples(service)
        assert value(found, "hrpc_worker_restarts_total") == 1
        assert value(found, "hrpc_workers", state="ready") == 2


async def test_no_call_is_forgotten_when_workers_are_replaced(tmp_path: Path) -> None:
    async with fleet(tmp_path, METRICS) as service:
        before = await service.all_answer()
        await called(service, 10)
        calls = await started(service)
        await called(service, 7)  # which nobody has asked for when these workers end
        service.process.send(signal.SIGHUP)
        await service.says("replaced: ")
        for _ in range(3):
            assert await started(service) == calls + 7
        assert set((await service.all_answer()).values()).isdisjoint(before.values())


async def test_a_scrape_with_a_worker_that_hangs_is_answered_in_time_and_says_so(tmp_path: Path) -> None:
    async with fleet(tmp_path, METRICS) as service:
        answering = await service.all_answer()
        before = await started(service)
        os.kill(answering[2], signal.SIGSTOP)
        try:
            began = monotonic()
            found = await samples(service)
            assert monotonic() - began < ANSWER_LIMIT + 20
            assert value(found, "grpc_server_started_total", **WHO) == before
            assert value(found, "hrpc_workers", state="silent") == 1
            assert value(found, "hrpc_workers", state="ready") == 1
            assert ("process_open_fds", frozenset({("worker", "2")})) not in found
        finally:
            os.kill(answering[2], signal.SIGCONT)

        async def answers() -> bool:
            return value(await samples(service), "hrpc_workers", state="ready") == 2

        await eventually(answers)


async def test_examples_of_workers_are_shown_to_those_who_read_them(tmp_path: Path) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with fleet(tmp_path, METRICS) as service:
        async with service.channel() as channel:
            await call(channel, "Who", metadata=[("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")])
        assert trace_id not in await scraped(service)
        assert f'trace_id="{trace_id}"' in await scraped(service, Accept=OPENMETRICS)


async def test_lines_of_a_worker_carry_its_number_and_those_of_the_master_none(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service:
        [(number, pid)] = (await called(service, 1)).items()
        await service.says(f"{SERVICE}/Who OK")
        await service.says("started in", times=3)
        lines = [json.loads(line) for line in service.process.output.splitlines() if line.startswith("{")]
        [audit] = [line for line in lines if line["category"] == "audit"]
        assert audit["worker"] == number
        assert {line.get("worker") for line in lines if "started in" in line["msg"]} == {None, 1, 2}
        assert pid in service.workers


async def test_limits_are_divided_among_workers(tmp_path: Path) -> None:
    limits = "hrpc.with_concurrency_limit(3)", "hrpc.with_rate_limit(1000, burst=10)"
    told = "limits {server.settings.concurrency.server} {server.settings.rate_limits.server}"
    hook = f'hrpc.life.when_exit(lambda: os.write(1, f"{told}\\n".encode()))'
    async with fleet(tmp_path, *limits, after=hook) as service:
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
    assert service.process.output.count("limits 2 Rate(per_second=500.0, burst=5.0)") == 2
