"""`understudy list`."""

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
