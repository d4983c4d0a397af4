"""Payloads in the audit log: what is hidden stays hidden wherever it stands, and all has a limit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from hrpc.log import payload
from hrpc.option import AuditSettings
from hrpc.redaction import Redaction
from tests.log.recorded import Audited

SECRET = "hunter2"


def _field(message: Any, name: str, number: int, kind: str, type_name: str = "", repeated: bool = False) -> Any:
    field = message.field.add(name=name, number=number, type=descriptor_pb2.FieldDescriptorProto.Type.Value(kind))
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if type_name:
        field.type_name = type_name
    return field


def _order() -> Any:
    """The class of ``message Order``, which has a field of each kind."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/order.proto", package="tests.payloads", syntax="proto3")
    file.dependency.append("google/protobuf/any.proto")
    file.enum_type.add(name="State").value.add(name="NEW", number=0)
    file.enum_type[0].value.add(name="PAID", number=1)
    order = file.message_type.add(name="Order")
    own, state = ".tests.payloads.Order", ".tests.payloads.State"
    _field(order, "id", 1, "TYPE_INT64")
    _field(order, "password", 2, "TYPE_STRING")
    _field(order, "iban", 3, "TYPE_STRING").options.debug_redact = True
    _field(order, "parent", 4, "TYPE_MESSAGE", own)
    _field(order, "parts", 5, "TYPE_MESSAGE", own, repeated=True)
    _field(order, "states", 6, "TYPE_ENUM", state, repeated=True)
    _field(order, "state", 7, "TYPE_ENUM", state)
    _field(order, "picture", 8, "TYPE_BYTES")
    _field(order, "any", 9, "TYPE_MESSAGE", ".google.protobuf.Any")
    for name, number, kind, type_name in (("labels", 10, "TYPE_STRING", ""), ("by_name", 11, "TYPE_MESSAGE", own)):
        entry = order.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _field(entry, "key", 1, "TYPE_STRING")
        _field(entry, "value", 2, kind, type_name)
        _field(order, name, number, "TYPE_MESSAGE", f"{own}.{entry.name}", repeated=True)
    _field(order, "ratio", 12, "TYPE_DOUBLE")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.payloads.Order"))


Order = _order()


def shown(message: Any, *redact: str, limit: int = 4096) -> str:
    """The text of a message in the log."""
    payloads = payload.Payloads(Redaction(redact), limit)
    text = payloads.text(payloads.keep(message))
    assert text is not None
    return text


def test_messages_are_in_the_line_as_json_text_only_when_asked_for() -> None:
    request, response = Order(id=7, state=1, states=[0, 1], picture=b"abc"), timestamp_pb2.Timestamp(seconds=5)
    audited, quiet = Audited(AuditSettings(payloads=True)), Audited()
    for log in (audited, quiet):
        log.add(request=request, response=response)
    (line,) = audited.lines()
    assert json.loads(line["request"]) == {"id": 7, "state": "PAID", "states": ["NEW", "PAID"], "picture": "(3 bytes)"}
    assert json.loads(line["response"]) == "1970-01-01T00:00:05Z"
    (line,) = quiet.lines()
    assert not {"request", "response"} & set(line)


def test_streams_have_no_payload() -> None:
    audited = Audited(AuditSettings(payloads=True))
    audited.add()
    assert not {"request", "response"} & set(audited.lines()[0])


def test_what_a_handler_does_to_its_message_afterwards_is_not_in_the_line() -> None:
    audited = Audited(AuditSettings(payloads=True))
    audited.writer.idle = False  # the thread does not come
    message = Order(id=1)
    audited.add(request=message)
    message.id = 2
    audited.writer.wake()
    assert audited.lines()[0]["request"] == '{"id":1}'


def _packed(message: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _struct(value: dict[str, Any]) -> Any:
    struct = struct_pb2.Struct()
    struct.update(value)
    return struct


@dataclasses.dataclass
class _Login:
    name: str
    password: str


@pytest.mark.parametrize("name", ["password", "iban"])
def test_fields_are_hidden_by_name_and_by_their_proto_option_at_every_depth(name: str) -> None:
    inner = Order(id=1, **{name: SECRET})
    messages = [
        inner,
        Order(parent=inner),
        Order(parts=[inner, Order(parent=inner)]),
        Order(by_name={"a": inner}),
        Order(any=_packed(inner)),
        Order(any=_packed(Order(any=_packed(inner)))),
        {"orders": [inner]},
    ]
    for message in messages:
        text = shown(message)
        assert SECRET not in text
        assert "[redacted]" in text
        assert '"id":1' in text


@pytest.mark.parametrize(
    "message",
    [
        Order(labels={"Access-Token": SECRET}),
        Order(by_name={"credentials": Order(labels={"a": SECRET})}),
        _struct({"a": [{"refresh_token": {"b": SECRET}}]}),
        Order(any=_packed(_struct({"apiKey": SECRET}))),
        {"new_password": SECRET},
        {"user": _Login("a", SECRET)},
        [_Login("a", SECRET)],
        ({"Set-Cookie": [SECRET]},),
    ],
)
def test_keys_of_maps_and_fields_of_other_messages_are_hidden_by_name(message: Any) -> None:
    text = shown(message)
    assert SECRET not in text
    assert "[redacted]" in text


@pytest.mark.parametrize("message", [SECRET, SECRET.encode(), object(), type(SECRET), Order(picture=SECRET.encode())])
def test_what_cannot_be_looked_into_is_not_shown(message: Any) -> None:
    assert SECRET not in shown(message)


def test_names_are_added_to_those_that_are_always_hidden() -> None:
    assert shown(Order(id=1, password="a", ratio=0.5), "RATIO") == (
        '{"id":1,"password":"[redacted]","ratio":"[redacted]"}'
    )
    assert shown({"card_number": 1, "cardNumber": 2, "cards": 3}, "card-number") == (
        '{"card_number":"[redacted]","cardNumber":"[redacted]","cards":3}'
    )


_names = st.sampled_from(["id", "note", "Password", "old-secret", "id_token", "COOKIE", "x"])
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=20,
)


@given(_values, st.booleans())
def test_no_value_under_a_hidden_name_is_ever_shown(value: Any, as_struct: bool) -> None:
    def planted(value: Any, hidden: bool) -> Any:
        if isinstance(value, dict):
            return {name: planted(inner, hidden or Redaction(()).hides(name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [planted(inner, hidden) for inner in value]
        return SECRET if hidden else value

    message = {"message": planted(value, hidden=False)}
    text = shown(_struct(message) if as_struct else message, limit=1_000_000)
    assert SECRET not in text
    json.loads(text)


def test_an_any_of_an_unknown_type_or_of_garbage_is_shown_by_its_size() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/nobody.Knows", value=SECRET.encode())
    garbage = any_pb2.Any(type_url="type.googleapis.com/tests.payloads.Order", value=b"\xff\xff\xff")
    for packed, size in ((unknown, 7), (garbage, 3)):
        assert json.loads(shown(packed)) == {"@type": packed.type_url, "value": f"({size} bytes)"}


def test_long_deep_wide_and_odd_messages_stay_within_the_limit() -> None:
    deep: Any = Order(id=1)
    for _ in range(90):
        deep = Order(parent=deep)
    endless: list[Any] = []
    endless.append([endless] * 100)

    class Fails(dict[str, int]):
        def items(self) -> Any:
            raise ZeroDivisionError

    assert "…" in shown(deep)
    assert shown(endless).count("…") > 0
    assert shown(Fails(a=1)) == "(Fails, cannot be shown)"
    assert shown(Order(ratio=float("inf"))) == '{"ratio":"inf"}'
    assert shown(Order(labels={"a": "x" * 100}), limit=20) == '{"labels":{"a":"xxxx… (119 characters)'
    assert shown(Order(labels={"a": "x" * 1000}), limit=20) == "(Order, 1009 bytes)"


def test_messages_that_wait_take_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "_WAITING_AT_MOST", 250)
    payloads = payload.Payloads(Redaction(()), 4096)
    for message in (Order(labels={"a": "x" * 90}), {"a": "x" * 90}):
        kept = [payloads.keep(message) for _ in range(4)]
        texts = [payloads.text(one) or "" for one in kept]
        assert [text.startswith("{") for text in texts] == [True, True, False, False]
        assert texts[3] == "(not kept, too many wait)"
