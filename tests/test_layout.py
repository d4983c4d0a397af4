"""The tests themselves: what several of them share is in a module that is named for it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/tests/*.py")]


def test_no_test_imports_from_conftest_which_is_that_of_whatever_folder_was_read_last() -> None:
    for path in FILES:
        assert not re.search(r"^(from|import) conftest\b", path.read_text(), re.MULTILINE), path


def test_no_test_imports_from_a_file_of_other_tests_which_can_then_not_be_split_or_renamed() -> None:
    for path in FILES:
        assert not re.search(r"^(from|import) ([\w.]+\.)?test_\w+", path.read_text(), re.MULTILINE), path
