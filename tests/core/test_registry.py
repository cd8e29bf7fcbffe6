from types import SimpleNamespace

import pytest

from understudy.core.errors import InputError
from understudy.core.registry import Registry


def registry():
    things: Registry[int] = Registry("number")
    things.register("one", summary="the first")(1)
    things.register("two", summary="the second")(2)
    return things


def test_names_and_summaries():
    things = registry()
    assert list(things) == ["one", "two"]
    assert things["two"] == 2
    assert things.summary("one") == "the first"


def test_a_thing_may_have_its_own_summary():
    things = Registry("thing")
    things.register("own")(SimpleNamespace(summary="says it itself"))
    assert things.summary("own") == "says it itself"
    with pytest.raises(ValueError, match=r"thing 'none' has no summary: give one to register\(\)"):
        things.register("none")(3)
    assert list(things) == ["own"]


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry().register("one", summary="again")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown number 'tow'; known: one, two \(did you mean 'two'\?\)"):
        registry()["tow"]
