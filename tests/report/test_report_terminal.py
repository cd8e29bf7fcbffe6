import io

from report_sample import Sample
from rich.console import Console

from understudy.report import summary_table

GOLDEN = """\

                    accuracy, %   difference to real, points
  arm               [low, high]                  [low, high]   seeds
 ────────────────────────────────────────────────────────────────────
  real        87.1 [85.4, 88.7]                    reference       3
  synthetic   90.6 [88.9, 92.2]            +3.5 [+2.0, +5.0]       3
  mixed       92.2 [90.5, 93.8]            +5.1 [+3.6, +6.6]       3
  bridged *   93.1 [91.4, 94.7]            +6.0 [+4.5, +7.5]       3

[low, high]: 95% intervals; *: chosen on val
"""


def test_golden(sample: Sample) -> None:
    output = io.StringIO()
    Console(file=output, width=90, force_terminal=False).print(summary_table(sample.results))
    assert "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n" == GOLDEN
