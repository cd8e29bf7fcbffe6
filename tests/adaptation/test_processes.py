"""Several processes learn what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_job import OPTIONS, tree, write_pets

from understudy import cli

WORDS = (
    *(
        "--set",
        "adapt.method=lora",
        "--set",
        "adapt.rank=2",
        "--set",
        "adapt.distribution=batch-mean",
        "--set",
        "visual.kind=per-image",
    ),
    *("--set", "adapt.micro_batch=1", "--set", "adapt.learning_rate=0.01"),
)


def in_two_processes(command_lines):
    """Does what ``accelerate launch`` does with GPUs; on the CPU that would need MPI."""
    script = Path(__file__).with_name("command_lines.py")
    launcher = ["-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = json.dumps([[str(word) for word in words] for words in command_lines])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *launcher, str(script), words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=500)


@pytest.mark.slow
def test_two_processes_end_like_one(tiny_pipeline_folder, tmp_path):
    data = ["adapt", write_pets(tmp_path / "pets"), "--generator", tiny_pipeline_folder, *OPTIONS]
    words, token = [*data, *WORDS], [*data, "--recipe", "textual-inversion", "--set", "adapt.micro_batch=1"]
    odd = [
        word.replace("adapt.batch_size=4", "adapt.batch_size=5") if isinstance(word, str) else word
        for word in words
    ]
    done = in_two_processes(
        [
            [*odd, "--out", tmp_path / "odd"],
            [*words, "--out", tmp_path / "two"],
            [*token, "--out", tmp_path / "token-two"],
        ]
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("exit 2"), done.stdout.count("exit 0")) == (2, 4), (
        "both are refused at first, both adapt then, twice"
    )
    assert "adapt.batch_size must be a multiple of 2, the number of processes, got 5" in done.stderr
    assert not (tmp_path / "odd" / "adapter").exists()
    assert done.stdout.count("adapt: validation loss") == 2, "one of them talks"

    for name, line in (("one", words), ("token-one", token)):
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(word) for word in (*line, "--out", tmp_path / name)])
        assert exit_.value.code == 0
    assert tree(tmp_path / "one" / "data") == tree(tmp_path / "two" / "data"), (
        "the features of real images among them"
    )
    one, two = (
        json.loads((tmp_path / name / "stages" / "adapt.json").read_text()) for name in ("one", "two")
    )
    assert (one["processes"], two["processes"]) == (1, 2)
    assert [step for step, _ in two["curve"]] == [0, 2, 4]
    # Sums of float32 in another order. Adam divides by the size of gradients, so where they are next to
    # nothing rounding shows.
    assert [loss for _, loss in two["curve"]] == pytest.approx([loss for _, loss in one["curve"]], rel=1e-5)
    for name, file in (("", "pytorch_lora_weights.safetensors"), ("token-", "learned_embeds.safetensors")):
        weights = [
            safetensors.torch.load_file(tmp_path / f"{name}{count}" / "adapter" / file)
            for count in ("one", "two")
        ]
        assert weights[0].keys() == weights[1].keys()
        for key, value in weights[0].items():
            torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=1e-5)
