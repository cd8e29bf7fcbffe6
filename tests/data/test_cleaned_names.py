"""Names of folders become words for prompts, and never lose what tells two classes apart."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from data_pictures import write_folder
from hypothesis import given
from hypothesis import strategies as st

from understudy.data.cleaned_names import abbreviations, tells_nothing, words_of_names
from understudy.data.english_plurals import _SINGULARS, singular
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings


@pytest.mark.parametrize(
    ("names", "words"),
    [
        # separators
        ("sea_lion great-white-shark snow.leopard", "sea lion/great white shark/snow leopard"),
        ("_cat_ __big__dog -bird-", "cat/big dog/bird"),
        # ids of WordNet
        ("n02123045_tabby n02085620-Chihuahua n02099267-flat-coated_dog", "tabby/Chihuahua/flat-coated dog"),
        ("tabby_n02123045 wolf", "tabby/wolf"),
        # numbers that count the classes
        ("01_cat dog", "cat/dog"),
        ("1.dog 2.cat 3.emu", "dog/cat/emu"),
        ("001.Black_footed_Albatross 104.Laysan_Albatross", "Black footed Albatross/Laysan Albatross"),
        ("class0_cat class1_dog", "cat/dog"),
        ("cat-2 dog-1", "cat/dog"),
        # camel case
        ("goldenRetriever AnnualCrop ApplyEyeMakeup", "golden retriever/Annual Crop/Apply Eye Makeup"),
        # file-system leftovers
        ("cat%20food dog.zip owl.tar.gz .git", "cat food/dog/owl/git"),
        # capitals
        ("NORMAL CNV DRUSEN BMW", "normal/CNV/drusen/BMW"),
        # plurals
        ("roses daisy sunflowers tulips", "rose/daisy/sunflower/tulip"),
        ("DOGS Wolves mice polar_bears boxes cherries", "dog/Wolf/mouse/polar bear/box/cherry"),
    ],
)  # fmt: skip
def test_names_become_words(names: str, words: str) -> None:
    assert words_of_names(names.split()) == tuple(words.split("/"))


def test_names_with_spaces_parentheses_and_slashes() -> None:
    names = ["cat (1)", "dog - Copy (2)", "T - shirt / top", "coat/jacket", "[emu]", "'owl'"]
    assert words_of_names(names) == ("cat", "dog", "T - shirt, top", "coat, jacket", "emu", "owl")


@pytest.mark.parametrize(
    "names",
    [
        [f"digit {digit}" for digit in range(10)],
        ["digit 0", "letter A", "letter b"],
        ["crane (construction machine)", "crane (bird)", "Mustang (1969)", "(a) or (b)"],
        ["F-16", "Boeing 737-800", "t-shirt", "X-ray", "jack-o-lantern", "half-timbered house"],
        ["iPhone", "McDonald", "MRI", "HTML", "BMW", "C++", "C#", "U.S.A.", "St. Bernard"],
        ["A+", "A-", "B-", "AB-"],
        ["2D", "3D"],
        ["1st", "2nd", "3rd"],
        ["4 door sedan", "2 door coupe"],
        ["glass", "bus", "lens", "series", "species", "iris", "cactus", "walrus", "scissors", "jeans", "gas"],
        ["albatross", "platypus", "triceratops", "compass", "canvas", "chess", "Mercedes", "Chicago Bulls"],
        ["Fuchs", "Krebs", "souris", "ours", "Canis lupus", "Haus", "lunes", "bébé-tigre", "corps"],
        ["猫", "собака", "СОБАКА", "قطة", "बिल्ली", "Käse", "İNEK", "ñandú", "แมว"],
        ["100%DEadly", "100% wool"],
        ["05 euro", "10 euro", "20 euro", "scan20240115 lungs", "session20240115 left"],
        ["00 deg", "45 deg", "90 deg", "stage VIII", "stage XVIII"],
        ["and", "None", "null", "con", "true", "{class}", "class | kind"],
    ],
)
def test_names_that_are_words_stay(names: list[str]) -> None:
    assert words_of_names(names) == tuple(names)


@pytest.mark.parametrize(
    "names",
    [
        ["cat-2", "cat"],
        ["cats", "cat"],
        ["cat_1", "cat_2"],
        ["01_cat", "02_cat"],
        ["sea_lion", "sea lion", "sea-lion"],
        ["ROCK", "rock"],
        ["SeaLake", "Sea Lake"],
        ["cat (1)", "cat (2)"],
        ["n02012849_crane", "n03126707_crane"],
    ],
)
def test_classes_that_would_become_the_same_stay_apart(names: list[str]) -> None:
    words = words_of_names(names)
    assert len({each.casefold() for each in words}) == len({name.casefold() for name in names})


@pytest.mark.parametrize("name", ["###", "🐱", "...", "_", "-", " ", "7", "001", "()", "%", "n99999999"])
def test_names_without_letters_stay(name: str) -> None:
    assert words_of_names([name, "dog"]) == (name, "dog")


def test_odd_names() -> None:
    assert words_of_names([]) == ()
    assert words_of_names([""]) == ("",)
    assert words_of_names(["🐱_cat", "x" * 200, "_".join(["word"] * 40)])[0] == "🐱 cat"
    assert words_of_names(["a" * 200 + "_b"]) == ("a" * 200 + " b",)


_PARTS = st.sampled_from(
    ["cat", "cats", "CAT", "Dog", "goldenRetriever", "n02123045", "class", "copy", "1", "01", "2", "3.5", "é",
     "猫", "🐱", "(1)", " - Copy", ".zip", "%20", "/", "_", "-", " ", ".", "(", ")", "[", "]", "'", '"']
)  # fmt: skip
_NAMES = st.one_of(
    st.text(max_size=12), st.text(string.printable, max_size=12), st.lists(_PARTS, max_size=6).map("".join)
)


@given(st.lists(_NAMES.filter(bool), unique=True, max_size=8))
def test_cleaning_is_idempotent_and_keeps_classes_apart(names: list[str]) -> None:
    words = words_of_names(names)
    assert words_of_names(words) == words
    assert all(words)
    assert len(words) == len(set(words)) == len(names)
    assert len({each.casefold() for each in words}) >= len({name.casefold() for name in names})


@given(st.permutations(["01_cat", "02_cats", "03_DOG", "04_dog", "05_seaLion", "06_sea_lion"]))
def test_the_order_of_the_classes_does_not_matter(names: list[str]) -> None:
    plain = sorted(names)
    expected = dict(zip(plain, words_of_names(plain), strict=True))
    assert dict(zip(names, words_of_names(names), strict=True)) == expected


def test_the_table_of_plurals_is_consistent() -> None:
    """No plural is a singular of the table, so that cleaning twice changes nothing."""
    assert not set(_SINGULARS) & set(_SINGULARS.values())
    assert all(singular(noun) == noun for noun in _SINGULARS.values())


@pytest.mark.parametrize(
    ("words", "is_bare"),
    [
        ("7", True),
        ("class 3", True),
        ("Class_3", True),
        ("n01440764", True),
        ("digit 3", False),
        ("a", False),
    ],
)
def test_words_that_tell_nothing(words: str, is_bare: bool) -> None:
    assert tells_nothing(words) is is_bare


def test_ids_of_imagenet_become_words_unless_two_classes_have_the_same_word() -> None:
    assert words_of_names(["n01440764", "n02102040", "n99999999", "cat"]) == (
        *("tench", "English springer", "n99999999", "cat"),
    )
    assert words_of_names(["n02012849", "n03126707"]) == ("n02012849", "n03126707")  # cranes
    assert words_of_names(["n02113186", "n02963159"]) == ("Cardigan Welsh corgi", "cardigan")
    assert words_of_names(["n01440764", "tench"]) == ("Tinca tinca", "tench")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"], ["bcc", "bkl", "df", "nv"]),
        (["CNV", "DME", "drusen", "normal"], ["CNV", "DME"]),
        (["CAT", "DOG"], []),  # everything is in capitals
        (["cat", "BMW 3", "TV"], ["BMW 3", "TV"]),
        (["St Bernard", "gym", "sky", "HER2 positive"], []),
        (["type II", "IV", "VIII"], []),
        (["A", "b", "7", "digit 3"], []),
        (["кт", "дом", "猫"], []),
    ],
)
def test_abbreviations(words: list[str], found: list[str]) -> None:
    assert abbreviations(words) == found


def test_a_folder_has_words_and_says_so(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"n02123045_tabby": 6, "dogs": 6, "emu": 6})
    splits = load_splits(DataSettings(source=str(root)), seed=0)
    assert splits.train.class_names == ("dogs", "emu", "n02123045_tabby")
    assert splits.prompt_names == ("dog", "emu", "tabby")
    (told,) = [note for note in splits.notes if note.startswith("words:")]
    assert told.startswith("words: dogs = dog, n02123045_tabby = tabby; other words with --class-names FILE")
    (tmp_path / "words.txt").write_text("dogs: dogs\nemu: a_bird\nn02123045_tabby: tabby\n")
    given_words = DataSettings(source=str(root), class_names=tmp_path / "words.txt")
    assert load_splits(given_words, seed=0).prompt_names == ("dogs", "a_bird", "tabby"), "taken as they are"


def test_a_folder_of_words_says_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 6, "sea lion": 6})
    splits = load_splits(DataSettings(source=str(root)), seed=0)
    assert splits.prompt_names == splits.train.class_names
    assert not any(note.startswith("words") for note in splits.notes)
