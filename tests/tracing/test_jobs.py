"""The trace of a job."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import StatusCode

import hrpc
from tests.tracing.exporting import a_server, tracer
from tests.tracing.spans import Spans, ids, parent


def test_a_job_is_one_trace(spans: Spans) -> None:
    async def nightly() -> str:
        with tracer.start_as_current_span("inner"):
            await asyncio.sleep(0)
        current = hrpc.context.current()
        assert current is not None
        return current.trace_id

    server = a_server(spans.option())
    trace_id = server.run(nightly)
    job = spans.one("test_a_job_is_one_trace.<locals>.nightly")
    assert ids(job)[0] == trace_id
    assert parent(spans.one("inner")) == ids(job)[1]


def test_a_job_that_fails_is_an_error_without_its_words(spans: Spans) -> None:
    async def failing() -> None:
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        a_server(spans.option()).run(failing)
    (job,) = spans.ended
    assert job.status.status_code is StatusCode.ERROR
    assert (job.attributes or {})["error.type"] == "ValueError"
    assert "secret" not in job.to_json()
