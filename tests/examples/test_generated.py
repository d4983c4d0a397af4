"""The generated code that is committed beside the protos."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = sorted(
    path.relative_to(ROOT) for glob in ("examples/*/*.proto", "benchmarks/*.proto") for path in ROOT.glob(glob)
)
OWN_PROTOS = sorted(path.relative_to(ROOT) for path in ROOT.glob("hrpc/*/*.proto"))


@pytest.mark.parametrize("proto", PROTOS, ids=str)
def test_generated_code_is_what_make_proto_makes_of_its_proto(proto: Path, tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, str(proto)], cwd=ROOT, check=True)

    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(made) == 3
    for path, text in made.items():
        assert (ROOT / path).read_text() == text, f"{path} is out of date: run `make proto`"


@pytest.mark.parametrize("proto", OWN_PROTOS, ids=str)
def test_our_own_generated_code_is_the_same_without_the_check_of_the_version_of_protobuf(
    proto: Path, tmp_path: Path
) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, str(proto)], cwd=ROOT, check=True)

    for path in tmp_path.rglob("*.py*"):
        check = r"^from .* as _runtime_version\n|^_runtime_version(.*\n)*?\)\n"
        expected = re.sub(check, "", path.read_text(), flags=re.MULTILINE)
        made = ROOT / path.relative_to(tmp_path)
        assert made.read_text() == expected, f"{made} is out of date: run `make proto`"
