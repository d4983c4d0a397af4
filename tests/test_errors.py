"""Errors for callers: their classes, what makes two of them one, how the environment of a deployment shifts them."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import wrappers_pb2

from hrpc import errors
from hrpc.errors import CallError, OptionError


class ShopError(CallError, issuer="SHOP"):
    """All errors of the shop."""


class OutOfStock(ShopError, code=2000, grpc_code=grpc.StatusCode.FAILED_PRECONDITION, message="out of stock"):
    """Fewer are left than were ordered."""


class Closed(ShopError, code=2001):
    """With nothing but a code; needs more than its message to be made."""

    def __init__(self, hours: int) -> None:
        super().__init__(f"opens in {hours} hours")


def make(name: str = "Made", **named: Any) -> type[CallError]:
    return type(CallError)(name, (CallError,), {}, **named)


def test_an_error_has_the_fields_of_its_class_and_its_own_message() -> None:
    error = OutOfStock()
    assert (error.issuer, error.error_code, error.name, error.message) == ("SHOP", 2000, "OutOfStock", "out of stock")
    assert str(error) == "(OutOfStock | SHOP | 2000) out of stock"
    assert OutOfStock("only 3 left").message == "only 3 left"
    assert (Closed(3).name, Closed.default_message, Closed.grpc_code) == ("Closed", "Closed", grpc.StatusCode.UNKNOWN)
    assert OutOfStock().id != OutOfStock().id
    assert isinstance(error, ShopError)


def test_the_error_that_it_was_raised_from_is_its_source() -> None:
    with pytest.raises(OutOfStock) as caught:
        try:
            raise KeyError("shelf")
        except KeyError as cause:
            raise OutOfStock from cause
    assert (caught.value.source_type, caught.value.source_error) == ("KeyError", "'shelf'")
    assert str(caught.value) == "(OutOfStock | SHOP | 2000) out of stock | from: 'shelf'"


def test_a_source_whose_words_fail_has_none() -> None:
    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error = OutOfStock()
    error.__cause__ = Wordless()
    assert str(error) == "(OutOfStock | SHOP | 2000) out of stock"


def test_two_errors_are_equal_when_issuer_and_code_are() -> None:
    assert OutOfStock("a") == OutOfStock("b")
    assert hash(OutOfStock("a")) == hash(OutOfStock("b"))
    assert OutOfStock() != Closed(1)
    assert OutOfStock() != ValueError()


def test_it_is_an_error_of_grpc_for_code_that_knows_nothing_else() -> None:
    error: grpc.aio.AioRpcError = OutOfStock()
    assert isinstance(error, grpc.aio.AioRpcError)
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "out of stock")
    assert list(error.trailing_metadata()) == []


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_is_the_same_error_also_of_a_class_that_is_made_otherwise(again: Any) -> None:
    error = OutOfStock("gone", details=[wrappers_pb2.Int32Value(value=3)], retry_after=2, violations={"a": "b"})
    error.__cause__ = ValueError("why")
    other = again(error)
    assert type(other) is OutOfStock
    for field in ("id", "time", "message", "error_details", "retry_after", "violations", "trace", "source_error"):
        assert getattr(other, field) == getattr(error, field), field
    assert (other.code(), other.details()) == (error.code(), error.details())
    assert again(Closed(3)).message == "opens in 3 hours"


def test_built_in_errors_have_the_codes_from_1000_on() -> None:
    codes = {
        errors.Unknown: 1000,
        errors.NotFound: 1001,
        errors.AlreadyExists: 1002,
        errors.Validation: 1003,
        errors.Overloaded: 1004,
        errors.Unauthenticated: 1005,
        errors.PermissionDenied: 1006,
        errors.Unavailable: 1007,
    }
    for kind, code in codes.items():
        assert (kind().issuer, kind().error_code) == ("HRPC", code)
    assert errors.Validation().code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_class_without_a_code_cannot_be_raised() -> None:
    for kind in (CallError, ShopError):
        with pytest.raises(TypeError, match="has no code"):
            kind()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"issuer": "SHOP", "code": 2000}, "issuer SHOP and code 2000 are those of tests.test_errors.OutOfStock"),
        ({"issuer": "HRPC", "code": 1999}, "codes 1000 to 1999 of the issuer HRPC are hrpc's own"),
        ({"code": 2002}, "needs an issuer"),
        ({"issuer": "SHOP", "code": 0}, "whole number from 1"),
        ({"issuer": "SHOP", "code": True}, "whole number from 1"),
        ({"issuer": "SHOP", "code": 2**32}, "whole number from 1"),
        ({"issuer": "", "code": 1}, "takes a letter"),
        ({"issuer": "a b", "code": 1}, "takes a letter"),
        ({"issuer": "SHOP", "code": 1, "grpc_code": grpc.StatusCode.OK}, "not the status of an error"),
        ({"issuer": "SHOP", "code": 1, "grpc_code": 5}, "not the status of an error"),
    ],
)
def test_a_class_that_cannot_work_is_refused_where_it_is_made(named: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        make(**named)


def test_codes_that_hrpc_keeps_are_free_for_other_issuers() -> None:
    assert make(issuer="OTHER", code=1001)().error_code == 1001
    assert make("Late", issuer="HRPC", code=2000)().issuer == "HRPC"


def test_a_module_that_is_loaded_again_replaces_its_classes() -> None:
    first, second = (make("Again", issuer="AGAIN", code=1) for _ in range(2))
    assert first() == second()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"retry_after": -1}, "seconds"),
        ({"retry_after": float("nan")}, "seconds"),
        ({"details": ["text"]}, "protobuf messages"),
    ],
)
def test_what_cannot_be_sent_is_refused_where_it_is_raised(given: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        OutOfStock(**given)


@pytest.mark.parametrize(("offset", "code"), [("", 2000), ("1000", 3000), ("2000", 4000)])
def test_the_environment_shifts_issuer_and_codes(offset: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPOT_ERROR_CODE_OFFSET", offset)
    monkeypatch.setenv("DEPOT_ERROR_ISSUER", "DEPOT-2")
    made = make(f"Empty{code}", issuer="DEPOT", code=2000)()
    assert (made.issuer, made.error_code) == ("DEPOT-2", code)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CODE_OFFSET", "-1"), ("CODE_OFFSET", "1.5"), ("CODE_OFFSET", "4294967295"), ("ISSUER", "a b")],
)
def test_a_bad_shift_is_an_error_that_names_the_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MY_SHOP_ERROR_{variable}", value)
    with pytest.raises(OptionError, match=f"MY_SHOP_ERROR_{variable}='{value}'"):
        make(issuer="my-shop", code=2000)


def test_a_shift_into_the_codes_of_hrpc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPOT_ERROR_ISSUER", "HRPC")
    with pytest.raises(OptionError, match="hrpc's own"):
        make(issuer="DEPOT", code=1500)


def test_built_in_errors_are_shifted_as_well_and_importing_them_imports_no_protobuf() -> None:
    code = (
        "import sys; from hrpc import errors; e = errors.NotFound();"
        "print(e.issuer, e.error_code, any(name.startswith('google.protobuf') for name in sys.modules))"
    )
    environ = os.environ | {"HRPC_ERROR_ISSUER": "EU", "HRPC_ERROR_CODE_OFFSET": "5000"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["EU", "6001", "False"]
