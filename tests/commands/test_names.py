"""`understudy list`."""

import subprocess
import sys

from understudy.commands.names import CATALOGUE


def test_list_prints_every_name(understudy):
    code, out, _ = understudy("list")
    assert code == 0
    for kind, registry in CATALOGUE.items():
        assert kind in out
        assert [name for name in registry if name not in out or registry.summary(name) not in out] == []
    _, arms, _ = understudy("list", "arms")
    assert "bridged" in arms
    assert "unipc" not in arms


def test_a_fresh_process_knows_names_of_every_kind():
    """A kind is empty if the files that register its things are not imported; other tests may import them."""
    code = (
        "from understudy.commands.names import CATALOGUE; "
        "print([kind for kind, names in CATALOGUE.items() if not list(names)], *CATALOGUE['sources'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")
    assert {"digits", "folder", "parquet", "zip"} <= set(done.stdout.split())
