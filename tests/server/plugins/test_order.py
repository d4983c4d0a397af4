"""The order of plugins: dependencies first, else as given; what is missing and what runs in a circle says so."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc.errors import MissingPlugin, OptionError, PluginCycle, PluginError
from hrpc.plugin import option
from hrpc.server.plugins.order import in_order
from tests.server.plugins.recorded import Loaded
from tests.server.recorded import a_server


def order(*plugins: Loaded) -> list[str]:
    return [plugin.name for plugin in a_server(hrpc.with_plugins(*plugins)).settings.plugins]


def test_plugins_are_loaded_in_the_order_given_but_each_after_those_on_which_it_depends() -> None:
    assert order(Loaded("b"), Loaded("a"), Loaded("c")) == ["b", "a", "c"]
    assert order(Loaded("a", "c"), Loaded("b"), Loaded("c")) == ["c", "a", "b"]
    assert order(Loaded("a", "b", "c"), Loaded("c", "d"), Loaded("b", "d"), Loaded("d")) == ["d", "b", "c", "a"]


def test_with_plugins_and_the_options_of_plugins_add_up() -> None:
    options = (hrpc.with_plugins(Loaded("a", "c")), option("own.with_b", Loaded("b")), hrpc.with_plugins(Loaded("c")))
    server = a_server(*options)
    assert [plugin.name for plugin in server.settings.plugins] == ["c", "a", "b"]
    server.apply(hrpc.with_plugins(Loaded("d")))
    assert [plugin.name for plugin in server.settings.plugins] == ["c", "a", "b", "d"]
    assert repr(options[1]).startswith("own.with_b(plugins=")


def test_an_option_among_plugins_and_a_plugin_among_options_are_told_where_they_belong() -> None:
    with pytest.raises(PluginError, match=r": own\.with_b\(…\) is an option: pass it to new_server itself$"):
        hrpc.with_plugins(option("own.with_b", Loaded("b")))  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=r"^own\.with_c: <object .*> is no plugin: it needs a name"):
        option("own.with_c", object())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"; plugins go into hrpc\.with_plugins\(…\)$"):
        a_server(Loaded("b"))  # type: ignore[arg-type]


def test_one_name_given_twice_is_an_error() -> None:
    with pytest.raises(PluginError, match=r"^plugin 'a' is given twice: leave one out, or give them names of"):
        a_server(hrpc.with_plugins(Loaded("a")), hrpc.with_plugins(Loaded("a")))


def test_a_dependency_that_is_missing_is_told_with_the_plugins_that_need_it() -> None:
    with pytest.raises(MissingPlugin) as caught:
        order(Loaded("a", "b"), Loaded("b", "acme-nowhere"))
    assert (caught.value.path, caught.value.code) == (("a", "b", "acme-nowhere"), 1001)
    assert str(caught.value).startswith(
        "plugin 'acme-nowhere' is neither given nor installed, and a → b → acme-nowhere needs it: "
        "pip install acme-nowhere, or pass it to hrpc.with_plugins; "
    )
    assert isinstance(caught.value, OptionError)


def test_a_circle_is_told_with_its_path() -> None:
    with pytest.raises(PluginCycle) as caught:
        order(Loaded("z", "a"), Loaded("a", "b"), Loaded("b", "c"), Loaded("c", "a"))
    assert (caught.value.path, caught.value.code) == (("a", "b", "c", "a"), 1002)
    assert "in a circle: a → b → c → a; take one out of the depends_on of another" in str(caught.value)
    with pytest.raises(PluginCycle, match="a → a"):
        order(Loaded("a", "a"))


def test_options_that_cannot_be_added_leave_the_server_as_it_was() -> None:
    server = a_server(hrpc.with_plugins(Loaded("a")))
    before = server.settings
    with pytest.raises(PluginError):
        server.apply(hrpc.with_plugins(Loaded("a")))
    assert server.settings is before
    server.apply(hrpc.with_plugins(Loaded("b")))
    assert [plugin.name for plugin in server.settings.plugins] == ["a", "b"]


graphs = st.integers(1, 8).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, count - 1), max_size=3, unique=True), min_size=count, max_size=count)
)


def nobody(*path: str) -> Loaded:
    raise MissingPlugin(path)


@given(graphs)
def test_whatever_depends_on_whatever_is_in_order_or_in_a_circle(graph: list[list[int]]) -> None:
    given = [Loaded(str(number), *map(str, needed)) for number, needed in enumerate(graph)]
    try:
        found = [plugin.name for plugin in in_order(given, nobody)]
    except PluginCycle as cycle:
        path = [int(name) for name in cycle.path]
        assert path[0] == path[-1]
        assert all(after in graph[before] for before, after in pairwise(path))
        return
    assert sorted(found) == sorted(plugin.name for plugin in given)
    assert all(found.index(needed) < found.index(plugin.name) for plugin in given for needed in plugin.depends_on)
    assert any(graph) or found == [plugin.name for plugin in given]
