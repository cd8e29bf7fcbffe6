import os
import subprocess
import sys

import pytest
import torch
from loky import cpu_count

from understudy.core.threads import use_threads

SPY = """
import importlib.abc, os, sys

class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
            sys.exit()

sys.meta_path.insert(0, Spy())
"""
COMMAND_LINE = "from understudy.cli import main; main(['validate', 'digits'])"
AFTER_TORCH = """
import os, sys, types
sys.modules["torch"] = types.ModuleType("torch")
import understudy
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


def said(code, **environment):
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("code", ["import understudy, torch", COMMAND_LINE])
def test_threads_wait_passively_before_torch_is_imported(code):
    assert said(SPY + code) == "PASSIVE 5000"


def test_what_the_user_has_set_is_kept():
    assert said(SPY + "import understudy, torch", OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None"
    assert said(SPY + "import understudy, torch", GOMP_SPINCOUNT="7") == "PASSIVE 7"


def test_nothing_changes_if_torch_is_loaded_already():
    assert said(AFTER_TORCH) == "None None"


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_as_many_threads_as_asked_for_but_not_more_than_cores(threads):
    assert use_threads(1) == torch.get_num_threads() == 1
    assert use_threads(100_000) == torch.get_num_threads() == cpu_count()


def test_threads_follow_the_cores_of_this_process(threads):
    torch.set_num_threads(64)
    assert use_threads(None) == torch.get_num_threads() == min(64, cpu_count())
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 would
    assert use_threads(None) == 1
