"""From a folder of photographs to a report: adapt a Stable Diffusion pipeline with LoRA, draw, compare.

``python examples/photographs.py PHOTOGRAPHS PIPELINE`` takes class folders, and the folder, file or hub name
of a pipeline, such as ``stable-diffusion-v1-5/stable-diffusion-v1-5``. It is written for a GPU of 24 GB;
``docs/photographs.md`` says how much memory and time it takes, and what to do without a GPU.
"""

import sys
from pathlib import Path

import torch

import understudy


def main(
    photographs: str, pipeline: str, out: Path = Path("runs/photographs"), **sections: dict[str, object]
) -> dict[str, object]:
    settings = understudy.build(
        # What suits photographs and large pipelines
        understudy.defaults_for(photographs, generator=pipeline),
        {
            "data": {"source": photographs},
            "generator": {"name": pipeline, "precision": "bfloat16"},  # half the memory for the weights
            "adapt": {"method": "lora", "micro_batch": 4},  # 8 images a step, 4 of them at once
            "draw": {"batch_size": 8},
        },
        sections,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results = understudy.run(settings, out, device=device)
    print(results["verdict"]["sentence"])
    print(out / "report.html")
    return results


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/photographs.py PHOTOGRAPHS PIPELINE")
    main(*sys.argv[1:])
