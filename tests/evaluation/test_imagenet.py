"""Test sets of ImageNet's classes: their folder names, the classes of a run, and what is refused."""

import numpy as np
import pytest
from data_pictures import write_folder
from timm.data import ImageNetInfo

from understudy.core.errors import InputError
from understudy.data.settings import DataSettings
from understudy.evaluation.imagenet import TEST_SETS, imagenet_classes
from understudy.evaluation.shift_tests import load_test_set

IDS = ImageNetInfo("imagenet-1k").label_names()


def load(name, path, class_names):
    settings = DataSettings(source="digits")
    found = load_test_set(name, path, class_names=class_names, learned_from=(), settings=settings)
    return found.images, found.classes


@pytest.mark.parametrize("name", list(TEST_SETS))
def test_every_set_reads_wordnet_ids(name, tmp_path):
    path = write_folder(tmp_path / "set", {IDS[3]: 2, IDS[999]: 1, IDS[500]: 3})
    names = (IDS[999], IDS[7], IDS[3])  # not in the order of ImageNet, and one that the set does not have
    data, classes = load(name, path, names)
    assert (data.class_names, classes) == (names, [0, 2])
    assert data.counts.tolist() == [1, 0, 2]
    assert all(
        f"/{data.class_names[label]}/" in where
        for label, where in zip(data.labels, data.provenance("source_path"), strict=True)
    )


def test_numbers_are_those_of_imagenet_and_not_of_the_sorted_folders(tmp_path):
    """Sorted as text, 10 comes before 2."""
    path = write_folder(tmp_path / "set", {"0": 1, "2": 2, "10": 3, "999": 4})
    data, classes = load("imagenet-v2", path, tuple(IDS))
    assert classes == [0, 2, 10, 999]
    assert data.counts[classes].tolist() == [1, 2, 3, 4]
    settings = DataSettings(source="digits")
    found = load_test_set(
        "imagenet-v2", path, class_names=(IDS[0], IDS[2]), learned_from=(), settings=settings
    )
    assert found.left_out == {"images": 7, "classes": 2}
    data, _ = load("imagenet-v2", path, ("brambling", "great_white_shark", "Tench"))
    assert data.counts.tolist() == [3, 2, 1]


@pytest.mark.parametrize("name", sorted({*TEST_SETS} - {"imagenet-v2"}))
def test_numbers_of_other_sets_are_refused(name, tmp_path):
    """A set of 200 classes has other numbers."""
    path = write_folder(tmp_path / "set", {"0": 1, "1": 1})
    with pytest.raises(
        InputError, match=rf"'{name}' must have folders named .*\(WordNet ids such as n0.* got 0, 1: give"
    ):
        load(name, path, (IDS[0], IDS[1]))


def test_the_words_of_every_class_find_it_or_are_ambiguous():
    info, labels = ImageNetInfo("imagenet-1k"), [str(number) for number in range(1000)]
    ambiguous = set()
    for number, identity in enumerate(IDS):
        for words in info.label_name_to_description(identity).split(", "):
            try:
                assert imagenet_classes("imagenet-v2", labels, [words.upper()]) == {
                    str(number): words.upper()
                }
            except InputError as error:
                ambiguous.add((words, identity in str(error)))
    assert {("crane", True), ("maillot", True)} <= ambiguous
    assert all(names_it for _, names_it in ambiguous)
    assert len(ambiguous) < 50


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (
            ["0", "1000"],
            [IDS[0]],
            r"must have folders named .*\(0 to 999, or WordNet ids such as .*got 1000: give the",
        ),
        (
            ["val", "0"],
            [IDS[0]],
            "got val: give the folder that contains these folders; if it is another set",
        ),
        (["\u00b2"], [IDS[0]], "must have folders named"),
        (["0"], ["cat"], r"needs a run with classes of ImageNet-1K, named by WordNet id .* got also 'cat'"),
        (["0"], ["0", "1"], r"needs a run with classes of ImageNet-1K"),
        (
            ["0"],
            ["crane"],
            "but 'crane' is n02012849 and n03126707 of ImageNet: name this class by WordNet id",
        ),
        (["0"], ["tench", IDS[0]], f"but 'tench' and '{IDS[0]}' are both {IDS[0]} of ImageNet"),
    ],
)
def test_what_does_not_fit_is_refused(labels, names, message):
    with pytest.raises(InputError, match=message):
        imagenet_classes("imagenet-v2", labels, names)


def test_a_set_must_share_two_classes_with_the_run(tmp_path):
    path = write_folder(tmp_path / "set", {IDS[0]: 1, IDS[1]: 1})
    with pytest.raises(InputError, match="must have test images of two classes or more, got only n01440764"):
        load("imagenet-r", path, (IDS[0], IDS[5]))
    with pytest.raises(InputError, match="got only none"):
        load("imagenet-r", path, (IDS[4], IDS[5]))


def test_other_names_read_folders_as_they_are(tmp_path):
    path = write_folder(tmp_path / "set", {"0": 1, "1": 1})
    data, _ = load("mine", path, ("1", "0"))
    np.testing.assert_array_equal(data.counts, [1, 1])
    with pytest.raises(InputError, match="must have classes of the run"):
        load("mine", path, ("tench", "goldfish"))
