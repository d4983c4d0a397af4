"""Values of JSON as values of a type: exactly, or refused with key, field and reason, and never with the value."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc.configs.decoding import decode, read
from hrpc.errors import InvalidConfig

SECRET = "hunter2-7781"


class Mode(Enum):
    FAST = "fast"
    SAFE = "safe"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


UserId = NewType("UserId", int)


@dataclass(frozen=True)
class Limits:
    per_order: int
    share: float = 0.5
    label: str | None = None


@dataclass(frozen=True)
class Shop:
    name: str
    mode: Mode = Mode.SAFE
    limits: Limits = field(default_factory=lambda: Limits(1))
    tags: tuple[str, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)
    more: list[Limits] = field(default_factory=list)
    size: Literal["s", "m", 3] = "s"
    password: str = ""
    owner: UserId = UserId(0)
    level: Level = Level.LOW
    point: tuple[int, str] = (0, "")
    flags: frozenset[str] = frozenset()
    checked: Annotated[bool, "said"] = False
    children: list[Shop] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.name == "closed":
            raise ValueError(f"the shop is closed, password {self.password}")


class Struct(msgspec.Struct):
    name: str
    limits: dict[str, int] = {}
    mode: Mode = Mode.SAFE
    password: Mode = Mode.SAFE


class Inner(pydantic.BaseModel):
    count: pydantic.PositiveInt


class Model(pydantic.BaseModel):
    name: str
    inner: list[Inner] = []
    password: int = 0


def plain(value: Any) -> Any:
    """What JSON has for a value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, tuple | list | frozenset) else value


numbers = st.integers(-(2**53), 2**53)
floats = st.floats(allow_nan=False, allow_infinity=False)
limits = st.builds(Limits, numbers, floats, st.none() | st.text())
shops = st.recursive(
    st.builds(
        Shop,
        name=st.text().filter(lambda name: name != "closed"),
        mode=st.sampled_from(Mode),
        limits=limits,
        tags=st.lists(st.text()).map(tuple),
        rates=st.dictionaries(st.text(), floats),
        more=st.lists(limits, max_size=3),
        size=st.sampled_from(["s", "m", 3]),
        password=st.text(),
        owner=numbers.map(UserId),
        level=st.sampled_from(Level),
        point=st.tuples(numbers, st.text()),
        flags=st.frozensets(st.text()),
        checked=st.booleans(),
    ),
    lambda inner: st.builds(Shop, name=st.just("parent"), children=st.lists(inner, max_size=2)),
    max_leaves=4,
)


@given(shops)
def test_what_was_written_from_a_dataclass_is_read_as_the_same_one(shop: Shop) -> None:
    assert read(Shop, "shop", json.dumps(plain(shop)).encode()) == shop


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
fields = [one.name for one in dataclasses.fields(Shop)]


@given(st.dictionaries(st.sampled_from(fields), anything) | anything)
def test_whatever_stands_there_is_read_or_refused(value: Any) -> None:
    for kind in (Shop, Struct, Model, int, float, list[Shop | None], dict[str, set[int]], str | int):
        try:
            read(kind, "shop", json.dumps(value).encode())
        except InvalidConfig as error:
            assert str(error).startswith("key 'shop'")
            assert "\n" not in str(error)


@given(st.binary())
def test_bytes_that_are_no_json_are_refused(text: bytes) -> None:
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(InvalidConfig, match=r"^key 'shop': expected (JSON|text in UTF-8), found "):
            read(Shop, "shop", text)


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (int, "20.5", "key 'a/b': expected a whole number, found a fraction"),
        (int, "true", "key 'a/b': expected a whole number, found true or false"),
        (int, '"20"', "key 'a/b': expected a whole number, found a text"),
        (float, "1e999", "key 'a/b': expected a number, found a number"),
        (float, "NaN", "key 'a/b': expected JSON, found what is not JSON (a number that cannot be)"),
        (float, "9" * 400, "key 'a/b': expected a number, found one that is too large"),
        (int, "[" * 100_000, "key 'a/b': expected JSON, found what is not JSON (it is nested too deeply)"),
        (int, "{", "key 'a/b': expected JSON, found what is not JSON (line 1, column 2: "),
        (str | None, "1", "key 'a/b': expected a text, found a whole number"),
        (Shop, "[]", "key 'a/b': expected an object, found a list"),
        (Shop, "{}", "key 'a/b': field 'name': expected a text, found nothing"),
        (
            Shop,
            '{"name": "a", "limits": {"per_order": "x"}}',
            "key 'a/b': field 'limits.per_order': expected a whole number",
        ),
        (Shop, '{"name": "a", "more": [{"per_order": 1}, 7]}', "key 'a/b': field 'more[1]': expected an object"),
        (Shop, '{"name": "a", "mode": "slow"}', "key 'a/b': field 'mode': expected 'fast' or 'safe', found a text"),
        (Shop, '{"name": "a", "level": true}', "key 'a/b': field 'level': expected 1 or 2, found true or false"),
        (Shop, '{"name": "a", "point": [1]}', "key 'a/b': field 'point': expected a list of 2, found one of 1"),
        (Shop, '{"name": "a", "rates": {"eu": null}}', "key 'a/b': field 'rates.eu': expected a number, found null"),
        (Shop, '{"name": "closed"}', "key 'a/b': Shop refuses it: the shop is closed, password"),
        (list[Shop], '[{"name": "closed"}]', "key 'a/b': field '[0]': Shop refuses it: the shop is closed"),
        (int | Limits, '{"per_order": "x"}', "key 'a/b': field 'per_order': expected a whole number, found a text"),
        (int | bool, '"x"', "key 'a/b': expected a whole number or true or false, found a text"),
        (Struct, "{}", "key 'a/b': Object missing required field `name`"),
        (Struct, '{"name": "a", "limits": {"x": "y"}}', "key 'a/b': field 'limits[...]': Expected `int`, got `str`"),
        (list[Struct], '[{"name": 1}]', "key 'a/b': field '[0].name': Expected `str`, got `int`"),
        (Model, "{}", "key 'a/b': field 'name': Field required"),
        (
            Model,
            '{"name": "a", "inner": [{"count": -1}]}',
            "key 'a/b': field 'inner[0].count': Input should be greater than 0",
        ),
        (
            dict[str, Model],
            '{"x": {"name": "a", "inner": 1}}',
            "key 'a/b': field 'x.inner': Input should be a valid array",
        ),
    ],
)
def test_an_error_says_key_field_and_reason(kind: Any, text: str, told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(kind, "a/b", text.encode())
    assert str(caught.value).startswith(told)
    assert caught.value.reason in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        (Shop, {"name": "closed", "password": SECRET}, "shop"),
        (Struct, {"name": "a", "password": SECRET}, "shop"),
        (Model, {"name": "a", "password": SECRET}, "shop"),
        (Mode, SECRET, "shop/password"),
        (Mode, f"mysql://root:{SECRET}@db", "shop"),
        (int, SECRET, "shop"),
        (Shop, {"name": [SECRET]}, "shop"),
    ],
)
def test_an_error_shows_no_secret(kind: Any, value: Any, key: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(kind, key, json.dumps(value).encode())
    assert SECRET not in str(caught.value)


def test_unknown_fields_are_ignored_and_told(logged: list[str]) -> None:
    assert read(Limits, "limits", b'{"per_order": 3, "per_oder": 4, "other": 5}') == Limits(3)
    assert logged == ["WARNING key 'limits': Limits has no fields other, per_oder; they are ignored"]


def test_types_of_the_libraries_are_read_by_their_libraries() -> None:
    assert read(Struct, "s", b'{"name": "a", "limits": {"x": 1}}') == Struct("a", {"x": 1})
    assert read(Model, "m", b'{"name": "a", "inner": [{"count": 2}]}').inner[0].count == 2
    assert read(list[Inner], "m", b'[{"count": 1}]') == [Inner(count=1)]


def test_a_text_is_taken_as_it_stands_there() -> None:
    assert read(str, "greeting", b'"hello" {') == '"hello" {'
    assert read(float, "rate", b"1") == 1.0
    assert math.copysign(1, read(float, "rate", b"-0.0")) == -1
    assert decode(dict, {"a": [1]}) == {"a": [1]}
    assert decode(Any, None) is None
    assert read(list[Literal[1, True]], "both", b"[1, true]") == [1, True]  # type: ignore[arg-type]
    assert [type(one) for one in read(list[Literal[1, True]], "both", b"[true, 1]")] == [bool, int]


def test_a_type_that_is_not_read_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="does not read"):
        read(complex, "a", b"1")


def test_neither_library_is_imported_for_others() -> None:
    import subprocess

    code = (
        "import sys, dataclasses\nfrom hrpc.configs.decoding import read\n"
        "@dataclasses.dataclass\nclass A:\n    b: int\n"
        "assert read(A, 'k', b'{\"b\": 1}').b == 1\n"
        "print({'msgspec', 'pydantic'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
