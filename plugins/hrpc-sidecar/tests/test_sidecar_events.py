"""Events that the frames of an agent tell of."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_service import Remembering, node

from hrpc_sidecar import ConnectionEvent, Controller, WatchEventParseError
from hrpc_sidecar.events import event_of
from hrpc_sidecar.frames import Frame


def test_an_event_has_all_that_the_agent_says() -> None:
    data = (
        b'{"event":"connected","message":"hello","service":"sidecar-agent","status":"ready",'
        b'"lifecycle_state":"running","ready":false,"generated_at":"2026-01-02T03:04:05.123456789+01:00","more":[1]}'
    )
    event = event_of(Frame("heartbeat", "12", data))
    assert event == ConnectionEvent(
        type="connected",
        id="12",
        message="hello",
        service="sidecar-agent",
        status="ready",
        lifecycle_state="running",
        ready=False,
        generated_at=datetime(2026, 1, 2, 2, 4, 5, 123457, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        pytest.param(Frame("connected", "1", None), ConnectionEvent(type="connected", id="1"), id="without data"),
        pytest.param(Frame("heartbeat", "", b"{}"), ConnectionEvent(type="heartbeat"), id="an empty object"),
        pytest.param(
            Frame("heartbeat", "", b'{"event":null,"ready":null}'), ConnectionEvent(type="heartbeat"), id="null"
        ),
        pytest.param(
            Frame("connected", "", b"welcome"), ConnectionEvent(type="connected", message="welcome"), id="plain text"
        ),
        pytest.param(Frame("", "", b"ok"), ConnectionEvent(type="connected", message="ok"), id="legacy"),
        pytest.param(Frame("message", "", b" OK "), ConnectionEvent(type="connected", message="OK"), id="legacy, loud"),
        pytest.param(Frame("other", "", b"ok"), None, id="ok of another event"),
        pytest.param(Frame("", "", b"well"), None, id="another text"),
        pytest.param(Frame("", "", b"5"), None, id="JSON that is no object"),
        pytest.param(Frame("connected", "", b'{"event":"routes"}'), None, id="an unknown event"),
        pytest.param(Frame("disconnected", "", b"{}"), None, id="an end is told by the end of the stream"),
        pytest.param(Frame(" connected ", "", b"x"), ConnectionEvent(type="connected", message="x"), id="spaces"),
        pytest.param(
            Frame("", "", b'\n {"event":"heartbeat"}\n'), ConnectionEvent(type="heartbeat"), id="space around JSON"
        ),
    ],
)
def test_what_a_frame_tells(frame: Frame, event: ConnectionEvent | None) -> None:
    assert event_of(frame) == event


def test_ready_is_unknown_when_it_is_not_said() -> None:
    event = event_of(Frame("heartbeat", "", b'{"status":"ready"}'))
    assert event is not None
    assert event.ready is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"event":', id="cut"),
        pytest.param(b"[1", id="cut list"),
        pytest.param(b'  {"event"}', id="no JSON"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b'{"event":"connected","ready":"yes"}', id="wrong type"),
        pytest.param(b'{"event":"connected"} x', id="more"),
        pytest.param(b'{"message":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"x":' * 100_000, id="too deep"),
    ],
)
def test_data_that_looks_like_json_and_is_no_event_is_an_error_with_type_id_and_payload(data: bytes) -> None:
    with pytest.raises(WatchEventParseError, match="'connected' with id '4'") as raised:
        event_of(Frame("connected", "4", data))
    assert (raised.value.event_type, raised.value.event_id) == ("connected", "4")
    assert raised.value.payload == data.decode(errors="replace")
    assert raised.value.__cause__ is not None
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59.999999-08:00", "2026-01-01T00:00:00"],
)
async def test_any_time_of_an_agent_can_be_shown(time: str) -> None:
    controller = Controller(Remembering(), node())
    event = event_of(Frame("connected", "", b'{"generated_at":"%b"}' % time.encode()))
    assert event is not None
    controller.observe_event(event)
    assert controller.status().last_event_at.endswith("Z")


KEYS = ("event", "message", "service", "status", "lifecycle_state", "ready", "generated_at")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "x"]), inner, max_size=5),
    max_leaves=9,
)


@given(
    kind=st.sampled_from(["", "connected", "heartbeat", "x"]),
    data=st.none() | st.binary(max_size=20) | JSON.map(json.dumps).map(str.encode),
    cut=st.integers(0, 40),
)
async def test_any_data_is_an_event_or_none_or_the_error_that_it_is_no_event(
    kind: str, data: bytes | None, cut: int
) -> None:
    controller = Controller(Remembering(), node())
    for part in {data, data and data[:cut], data and b"{" + data, data and b" [" + data}:
        try:
            event = event_of(Frame(kind, "1", part))
        except WatchEventParseError as error:
            assert part is not None
            assert part.lstrip()[:1] in (b"{", b"[")
            assert error.event_type
        else:
            if event is not None:
                controller.observe_event(event)
                assert event.type in ("connected", "heartbeat")
                assert controller.status().last_event_type == event.type
