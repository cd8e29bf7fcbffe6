"""Facts of settings, the idle check that follows from them, and nested mappings."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from understudy.core.config import (
    Need,
    Section,
    check_effect,
    facts_of,
    flatten,
    given_names,
    merge,
    owner_of,
    parse_override,
    section_in,
    sections_in,
    setting,
    unless,
    validated,
    when,
)
from understudy.core.errors import InputError


class Wheel(Section):
    size: int = setting(20, ge=10, decides="pixels")
    spokes: int | None = setting(None, decides="pixels", needs=unless("bike.kind", "unicycle"))


class Bike(Section):
    addable: ClassVar[bool] = True
    kind: Literal["city", "unicycle"] = setting("city")
    colour: str = setting("red", decides="card", registry="shop:COLOURS")
    bell: bool = setting(False, decides="nothing", needs=(when("bike.kind", "city"), unless("wheels", ())))
    price: float | Literal["free"] = setting(1.0, expects="a number or 'free'")


class Shop(Section):
    bike: Bike = Bike()
    wheels: tuple[Wheel, ...] = setting(())
    sizes: tuple[Annotated[int, Field(lt=5)], ...] = setting((1,), min_length=1)
    shelves: dict[str, tuple[Wheel, ...]] = setting({})
    owner: str = "somebody"


def test_fields_carry_their_facts():
    assert facts_of(Bike.model_fields["colour"]).registry == "shop:COLOURS"
    assert facts_of(Shop.model_fields["owner"]).decides == "result"
    assert Wheel.names_deciding("pixels") == ("size", "spokes")
    assert Bike.names_deciding("nothing") == ("bell",)


def test_facts_do_not_disturb_a_json_schema():
    assert Bike.model_json_schema()["properties"]["colour"]["decides"] == "card"


def test_needs_in_words():
    assert when("bike.bell", True).words == "`bike.bell` is `true`"
    assert when("bike.kind", "city", "unicycle").words == "`bike.kind` is `city` or `unicycle`"
    assert when("bike.name", None).words == "`bike.name` is not set"
    assert unless("bike.name", None).words == "`bike.name` is set"
    assert unless("bike.kind", "city").words == "`bike.kind` is not `city`"


def test_the_first_need_that_fails_is_named():
    unicycle = Shop(bike=Bike(kind="unicycle"))
    with pytest.raises(
        InputError,
        match="^bike.bell has no effect while bike.kind is 'unicycle': leave it out, or change bike.kind$",
    ):
        check_effect(unicycle, ["bike.bell"])
    with pytest.raises(
        InputError, match=r"^bike.bell has no effect while wheels is \[\]: leave it out, or change wheels$"
    ):
        check_effect(Shop(), ["bike.colour", "bike.bell"])
    check_effect(Shop(wheels=(Wheel(),)), ["bike.bell", "bike.kind", "owner"])


def test_a_need_may_be_any_condition():
    need = Need("owner", "the owner is known", lambda settings: settings.owner != "somebody")
    assert need.holds(Shop(owner="Ada"))
    assert not need.holds(Shop())


def test_places_of_settings():
    assert owner_of(Shop, "bike.bell") == (Bike, Bike.model_fields["bell"])
    assert owner_of(Shop, "owner") == (Shop, Shop.model_fields["owner"])
    assert owner_of(Shop, "shelves.upper") == (Shop, Shop.model_fields["shelves"])
    with pytest.raises(KeyError):
        owner_of(Shop, "car.wheels")
    assert section_in(Shop.model_fields["shelves"]) is Wheel
    assert section_in(Shop.model_fields["owner"]) is None


def test_sections_inside_a_section():
    shop = Shop(wheels=(Wheel(size=10),), shelves={"upper": (Wheel(size=11), Wheel(size=12))})
    assert [type(section) for section in sections_in(shop)] == [Shop, Bike, Wheel, Wheel, Wheel]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"bike": {"colr": "red"}},
            r"unknown setting 'bike.colr'; known here: kind, .*price \(did you mean bike.colour\?\)",
        ),
        ({"wheels": [{"diameter": 3}]}, "unknown setting 'wheels.0.diameter'; known here: size, spokes"),
        (
            {"shelves": {"upper": [{"size": 3}]}},
            "setting 'shelves.upper.0.size': input should be greater than or equal to 10, got 3",
        ),
        ({"bike": {"price": "much"}}, "setting 'bike.price' must be a number or 'free', got 'much'"),
        ({"sizes": "all"}, r"setting 'sizes' must be a list, such as \[a, b\], got 'all'"),
        ({"sizes": 3}, r"setting 'sizes' must be a list, such as \[a, b\], got 3"),
        ({"sizes": []}, r"setting 'sizes' must be a list of at least 1 value, got \[\]"),
        ({"sizes": [7]}, "setting 'sizes.0': input should be less than 5, got 7"),
        ({"bike": 1}, "setting 'bike' must be a section with settings, such as bike.kind, got 1"),
        ({"wheels": [3]}, "setting 'wheels.0' must be a section with settings, such as wheels.0.size, got 3"),
        ({"shelves": 3}, "setting 'shelves' must be a mapping of names to values, got 3"),
    ],
)
def test_messages_name_the_setting(values, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        validated(Shop, values)


def test_changed_values_are_checked():
    assert Wheel(size=12).changed(spokes=3) == Wheel(size=12, spokes=3)
    with pytest.raises(InputError, match="size: Input should be greater than or equal to 10"):
        Wheel().changed(size=1)


class Sets(Section):
    """Test sets by name."""

    tests: dict[str, str] = setting({})


def test_replaced_names_other_values_of_a_mapping():
    now = Sets(tests={"ink": "b", "new": "c"})
    assert now.replaced({"tests": {"ink": "a", "old": "d"}}) == [
        "tests no longer has old",
        "tests.ink was a and is now b",
    ]
    (line,) = now.replaced({"tests": {f"set{number}": "a" for number in range(40)}})
    assert line.endswith("set8, set9 and 30 more")


def test_nested_mappings():
    into = {"a": {"b": 1, "c": 2}, "d": 3}
    merge(into, {"a": {"c": 4}, "d": {"e": 5}})
    assert into == {"a": {"b": 1, "c": 4}, "d": {"e": 5}}
    assert flatten(into) == {"a.b": 1, "a.c": 4, "d.e": 5}
    assert given_names({"a": {"b": 1}}, {"d": 2}) == ["a.b", "d"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("~/a b", "HOME/a b"), ("[~/a, b]", ["HOME/a", "b"]), ("a~/b", "a~/b"), ("~", None), ("'~x'", "~x")],
)
def test_a_tilde_is_the_home_folder_although_shells_leave_it(value, expected, monkeypatch):
    monkeypatch.setenv("HOME", "HOME")
    assert parse_override(f"bike.name={value}") == {"bike": {"name": expected}}


@pytest.mark.parametrize(
    ("text", "message"), [("draw.times", "key=value"), ("draw.times=[", "not YAML"), ("=3", "key=value")]
)
def test_bad_overrides(text, message):
    with pytest.raises(InputError, match=message):
        parse_override(text)
