"""The cells of the ablation of Real-Fake."""

from itertools import product

from benchmarks.real_fake import _PAPER, ABLATION, CASES
from understudy.recipes import PRESETS
from understudy.settings import build

TERM, GUIDANCE, START = " + batch-mean", " + visual guidance", " + latent prior"


def test_every_row_of_the_paper_is_a_case():
    names = {case.name for case in CASES}
    assert set(_PAPER) - {"real"} <= names
    tuned = [
        "fine-tuning" + (START if prior else "") + (GUIDANCE if guidance else "") + (TERM if term else "")
        for prior, guidance, term in product((False, True), repeat=3)
    ]
    assert set(tuned) - names == {"fine-tuning" + START + GUIDANCE + TERM}, "which is the case all"
    assert len(_PAPER) == 11, "ten rows, and the real images"


def test_adapters_come_before_the_cases_that_use_them():
    known = []
    for case in ABLATION:
        assert case.adapter_of is None or case.adapter_of in known
        build(PRESETS["quick"], case.settings, {"data": {"source": "digits"}})
        known.append(case.name)
