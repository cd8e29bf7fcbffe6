"""Parts of ``results.json`` that no single stage measures."""

from understudy.pipeline.results import arms_with_val
from understudy.training.settings import CompareSettings, Phase


def test_arms_with_validation_images_are_paired_by_what_they_learn_from():
    """Strategies follow ``+val`` in a name, and the name of an arm of one's own may end in anything."""
    own = {name: (Phase(data="mixed"),) for name in ("mine", "mine+val")}
    names = ["real", "real+val", "mixed", "mixed@matched", "mixed+val@matched", "mine", "mine+val"]
    names += ["bridged++", "bridged+++val"]
    settings = CompareSettings(arms=tuple(names), own_arms=own)
    assert arms_with_val(names, settings) == {
        "real": "real+val",
        "mixed@matched": "mixed+val@matched",
        "bridged++": "bridged+++val",
    }
