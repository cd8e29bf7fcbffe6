import io
from typing import Any

import pytest
from measured_sample import ARMS, make_membership, make_shift
from report_sample import Sample, before_class_means, make_scale, unbalanced
from rich.console import Console
from rich.table import Table

from understudy.report.terminal import membership_table, shift_table, summary_table

GOLDEN = """\

                    accuracy, %   difference to real, points
  arm               [low, high]                  [low, high]   seeds
 ────────────────────────────────────────────────────────────────────
  real        87.1 [85.4, 88.7]                    reference       3
  synthetic   90.6 [88.9, 92.2]            +3.5 [+2.0, +5.0]       3
  mixed       92.2 [90.5, 93.8]            +5.1 [+3.6, +6.6]       3
  bridged *   93.1 [91.4, 94.7]            +6.0 [+4.5, +7.5]       3

[low, high]: 95% intervals; *: chosen on val
For these images and this generator; --repeats tries others.
"""
UNBALANCED = """\

                                            balanced      difference to real
               accuracy,   macro         accuracy, %   in balanced accuracy,
  arm                  %   F1, %         [low, high]      points [low, high]
 ────────────────────────────────────────────────────────────────────────────
  real              87.1    85.8   86.0 [84.3, 87.6]               reference
  synthetic         90.6    89.3   89.5 [87.8, 91.1]       +3.7 [+2.2, +5.2]
  mixed             92.2    90.9   91.1 [89.4, 92.7]       +5.3 [+3.8, +6.8]
  bridged *         93.1    91.8   92.0 [90.3, 93.6]       +6.2 [+4.7, +7.7]
  always '0'        28.6     4.5                10.0

[low, high]: 95% intervals; *: chosen on val
For these images and this generator; --repeats tries others.
The test set is too small for 1 (4): with fewer than 5 test images, one image
changes the recall of a class by more than 20 points, so add test images.
"""
SCALE = """\
synthetic, 6,000 synthetic images: worth 270 [160, 480] real ones; no size beats all real images clearly
mixed, 6,000 synthetic images: worth more than 600 real ones; first beats all real images at 4 times their number; 12,000 would add
-0.4 [-1.1, +0.3] points if the trend continued
"""


def printed(results: dict[str, Any], *, width: int) -> str:
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=False).print(summary_table(results))
    return clean(output)


def clean(output: io.StringIO) -> str:
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def test_golden(sample: Sample) -> None:
    assert printed(sample.results, width=90) == GOLDEN
    assert printed(sample.results | {"scale": {}}, width=90) == GOLDEN


def test_without_synthetic_images_nothing_is_said_about_a_generator(sample: Sample) -> None:
    real = {"real": sample.results["arms"]["real"]}
    verdict = sample.results["verdict"] | {"best": "real"}
    assert "this generator" not in printed(sample.results | {"arms": real, "verdict": verdict}, width=90)


def test_golden_of_an_unbalanced_test_set(sample: Sample) -> None:
    assert printed(unbalanced(sample.results), width=80) == UNBALANCED
    by_accuracy = unbalanced(sample.results, measure="accuracy")
    flat = " ".join(printed(by_accuracy, width=80).split())
    assert "bridged * 92.0 91.8 93.1 [91.4, 94.7] +6.0 [+4.5, +7.5]" in flat
    assert "always '0' 10.0 4.5 28.6" in flat


def test_a_run_of_an_older_version(sample: Sample) -> None:
    assert printed(before_class_means(sample.results), width=90) == GOLDEN


def test_size_of_the_synthetic_set(sample: Sample) -> None:
    flat = " ".join(printed(sample.results | {"scale": make_scale()}, width=90).split())
    assert flat.endswith(" ".join(SCALE.split()))


@pytest.mark.parametrize(
    ("table", "heads", "row"),
    [
        (
            shift_table(make_shift(["cat", "dog"])),
            "arm test images corrupted other-pens two-classes ECE",
            "bridged 92.5 [90.9, 94.1] 80.5 [78.9, 82.1] 83.5 [81.9, 85.1] 91.5 [89.9, 93.1] 0.031",
        ),
        (
            shift_table(make_shift(["cat", "dog"]) | {"mean_corruption": {}, "tests": {}}),
            "arm test images ECE",
            "bridged 92.5 [90.9, 94.1] 0.031",
        ),
        (
            shift_table(make_shift(["cat", "dog"]) | {"per_class": [90, 10]}),
            "arm test images corrupted other-pens two-classes ECE",
            "90.5 [88.5, 92.5] 78.5 [76.5, 80.5] 81.5 [79.5, 83.5] 89.5 [87.5, 91.5]",
        ),
        (
            shift_table(make_shift(["cat", "dog", "emu"]), ["cat", "dog", "emu"]),
            "arm test images corrupted other-pens two-classes ECE",
            "two-classes has no images of emu; arms choose among the other classes there",
        ),
        (
            membership_table(make_membership()),
            "LiRA LiRA RMIA RMIA arm at 0.1% at 1% at 0.1% at 1% test accuracy, %",
            "not audited: The arm 'always-fresh' sees synthetic images alone",
        ),
        (
            membership_table(make_membership()),
            "LiRA LiRA RMIA RMIA arm at 0.1% at 1% at 0.1% at 1% test accuracy, %",
            "bridged 0.1 [0.1, 0.1] 1.0 [0.7, 1.3] 0.1 [0.1, 0.1] 1.0 [0.7, 1.3] 87.0",
        ),
    ],
)
def test_tables_of_what_is_measured_later(table: Table, heads: str, row: str) -> None:
    output = io.StringIO()
    Console(file=output, width=140, force_terminal=False).print(table)
    words = " ".join(clean(output).split())
    assert words.startswith(heads) and row in words and "95% intervals" in words
    assert all(f" {arm} " in words for arm in ARMS)
