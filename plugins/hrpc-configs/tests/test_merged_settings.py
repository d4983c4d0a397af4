"""Defaults < file < Consul < environment, field by field, with where each value is from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc.configs import decoding
from hrpc.errors import InvalidConfig, OptionError
from hrpc_configs import SECRET, Secret, Settings
from hrpc_configs.explaining import explained
from hrpc_configs.merging import Source, merged
from hrpc_configs.sources import checked_file, read_environment, read_file

HIDDEN = "hunter2-7781"


@dataclass(frozen=True)
class Retry:
    attempts: int = 3
    codes: list[str] = field(default_factory=list)
    pin: Annotated[int | None, SECRET] = None


@dataclass(frozen=True)
class Limits:
    per_order: int = 20
    share: float = 0.5
    name: str = "orders"
    checked: bool = False
    retry: Retry = field(default_factory=Retry)
    maybe: Retry | None = None
    rates: dict[str, float] = field(default_factory=dict)
    marked: Secret[str] = ""
    by_metadata: str = field(default="", metadata={"secret": True})
    database_password: str = ""
    upstream: str = ""


class Struct(msgspec.Struct, rename="camel"):
    per_order: int = 20
    marked: Secret[str] = ""


class Model(pydantic.BaseModel):
    per_order: int = pydantic.Field(20, alias="perOrder")
    marked: Secret[str] = ""
    key: pydantic.SecretStr = pydantic.SecretStr("")


whole = st.integers(-1000, 1000)
retries = st.fixed_dictionaries({}, optional={"attempts": whole, "codes": st.lists(st.text(max_size=3), max_size=2)})
layers = st.fixed_dictionaries(
    {},
    optional={
        "per_order": whole,
        "share": st.floats(0, 1),
        "name": st.text(max_size=4),
        "checked": st.booleans(),
        "retry": retries,
        "maybe": st.none() | retries,
        "rates": st.dictionaries(st.sampled_from("ab"), st.floats(0, 1)),
    },
)


def found_in(values: Any, path: tuple[str, ...]) -> Any:
    """What a layer says of a path: its value, "nothing", or "hides it" where something else stands in its place."""
    for name in path:
        if not isinstance(values, dict):
            return "hides it"
        if name not in values:
            return "nothing"
        values = values[name]
    return values


@given(st.lists(layers, max_size=4))
def test_each_field_has_the_value_of_the_last_source_that_has_it(found: list[dict[str, Any]]) -> None:
    sources = [Source(str(number), values) for number, values in enumerate(found)]
    together = merged(Limits, sources)
    limits = decoding.decode(Limits, together.values)
    rows = {row.field: row for row in explained(limits, together.origins)}
    for name in ("per_order", "share", "name", "checked", "rates", "retry.attempts", "retry.codes", "maybe.attempts"):
        path = tuple(name.split("."))
        value: Any = Limits()
        for step in path:
            value = getattr(value, step, None)
        said = [(str(number), found_in(values, path)) for number, values in enumerate(found)]
        expected = [origin for origin, one in said if one != "nothing"]
        if name == "maybe.attempts":
            if limits.maybe is None:
                assert rows["maybe"].source == next(
                    (str(n) for n, values in reversed(list(enumerate(found))) if "maybe" in values), "default"
                )
                continue
            while "hides it" in (hidden := [one for _, one in said]):
                said = said[hidden.index("hides it") + 1 :]
            value, expected = 3, [origin for origin, one in said if one != "nothing"]
        for _, one in said:
            value = value if one == "nothing" else one
        got: Any = limits
        for step in path:
            got = getattr(got, step)
        assert got == value
        assert [*rows[name].overridden, rows[name].source] == (expected or ["default"])
        assert rows[name].value == repr(value)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(
    per_order=whole,
    share=st.floats(0, 1),
    name=texts,
    checked=st.booleans(),
    codes=st.lists(st.text()),
    attempts=whole,
)
def test_what_is_written_into_variables_is_read_from_them(
    per_order: int, share: float, name: str, checked: bool, codes: list[str], attempts: int
) -> None:
    environ = {
        "ORDERS_PER_ORDER": str(per_order),
        "ORDERS_SHARE": repr(share),
        "ORDERS_NAME": name,
        "ORDERS_CHECKED": json.dumps(checked),
        "ORDERS_RETRY": json.dumps({"attempts": 99, "codes": codes}),
        "ORDERS_RETRY__ATTEMPTS": str(attempts),
        "ORDERS_MAYBE__ATTEMPTS": str(attempts),
        "ORDERS_RATES": "",
        "OTHER": "1",
    }
    found = merged(Limits, read_environment(Limits, "ORDERS_", environ))
    assert decoding.decode(Limits, found.values) == Limits(
        per_order, share, name, checked, Retry(attempts, codes), Retry(attempts)
    )
    assert found.origins[("retry", "attempts")] == ["variable ORDERS_RETRY", "variable ORDERS_RETRY__ATTEMPTS"]


@given(st.dictionaries(st.sampled_from(["A_PER_ORDER", "A_RETRY", "A_RETRY__ATTEMPTS", "A_MAYBE"]), texts))
def test_whatever_variables_say_is_taken_or_refused(environ: dict[str, str]) -> None:
    found = merged(Limits, read_environment(Limits, "A_", environ))
    try:
        decoding.decode(Limits, found.values)
    except decoding.Refused as refused:
        assert refused.field


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "per_order = 7\nname = 2026-01-02\n[retry]\ncodes = ['a']\n"),
        ("a.json", '{"per_order": 7, "name": "2026-01-02", "retry": {"codes": ["a"]}}'),
    ],
)
def test_a_file_is_toml_or_json(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    source = read_file(checked_file(tmp_path / name))
    assert source.name == f"file '{tmp_path / name}'"
    found = decoding.decode(Limits, merged(Limits, [source]).values)
    assert found == Limits(per_order=7, name="2026-01-02", retry=Retry(codes=["a"]))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", f"password = {HIDDEN}", "expected TOML, found what is not "),
        ("a.json", f'{{"password": {HIDDEN}}}', "expected JSON, found what is not "),
        ("a.json", f'["{HIDDEN}"]', "expected fields with values, found something else"),
        ("a.toml", b"\xff", "expected TOML, found bytes that are not UTF-8"),
        ("a.toml", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_without_its_content(
    name: str, text: str | bytes | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidConfig) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"file '{path}': {told}")
    assert HIDDEN not in str(caught.value)


def test_mistakes_of_the_program_are_errors_of_options() -> None:
    with pytest.raises(OptionError, match="takes a dataclass"):
        Settings(dict)
    with pytest.raises(OptionError, match=r"has to end in \.toml or \.json"):
        Settings(Limits, file="limits.ini")
    with pytest.raises(hrpc.errors.NotRunning, match="hrpc-configs Limits: no hrpc server is running"):
        Settings(Limits).get()


def test_no_secret_is_shown() -> None:
    values = {
        "marked": HIDDEN,
        "by_metadata": HIDDEN,
        "database_password": HIDDEN,
        "upstream": f"amqp://user:{HIDDEN}@host",
        "retry": {"pin": 7781},
    }
    found = merged(Limits, [Source("key 'a'", values)])
    explanation = explained(decoding.decode(Limits, found.values), found.origins)
    assert HIDDEN not in str(explanation)
    assert "7781" not in str(explanation)
    rows = {row.field: row.value for row in explanation}
    assert {rows[name] for name in ("marked", "by_metadata", "database_password", "upstream", "retry.pin")} == {
        "[redacted]"
    }
    for kind in (Struct, Model):
        shown = str(explained(decoding.decode(kind, {"marked": HIDDEN}), {}))
        assert "marked" in shown
        assert HIDDEN not in shown
    assert HIDDEN not in str(explained(decoding.decode(Model, {"key": HIDDEN}), {}))


@pytest.mark.parametrize("kind", [Struct, Model])
def test_classes_of_the_libraries_have_the_names_that_they_are_written_with(kind: Any) -> None:
    environ = {"A_PERORDER": "7"}
    found = merged(kind, [Source("file 'a'", {"perOrder": 6}), *read_environment(kind, "A_", environ)])
    value = decoding.decode(kind, found.values)
    assert value.per_order == 7
    row = explained(value, found.origins)[0]
    assert row == ("perOrder", "7", "variable A_PERORDER", ("file 'a'",))
