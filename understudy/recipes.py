"""Presets and recipes: documented bundles of settings.

A preset sets the effort, a recipe the method. The comments give the cost and the expected result of each.
Unless they say otherwise, figures are measured on the 600 train images of `digits` with the generator `mini`,
the preset `quick`, two CPU cores and no GPU; docs/results has them with their intervals.
`understudy preview` estimates the time of a run on another machine or another data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.registry import Registry
from understudy.generators.prompts import REAL_FAKE_NEGATIVE

PRESETS: Registry[Mapping[str, Any]] = Registry("preset")
# Time: three minutes for 5 images per class, report included; 1.3 GB of memory. Result: `bridged` is 2.2
# points more accurate than `real`, and `bridged+val` 1.2 more than `real+val`: one choice of images.
PRESETS.register("quick", summary="a first answer in minutes: short trainings, three seeds")(
    {"adapt": {"steps": 300}, "compare": {"steps": 200}},
)
# Time: twice the adaptation steps of `quick`, and one and a half times its training steps.
PRESETS.register("standard", summary="the defaults")({})
# Time: nearly seven times the adaptation steps of `quick`, more than twelve times its training steps (five
# seeds instead of three), and at least five times the images; all of that five times (`REPEATS`). A GPU is
# advisable for anything but `mini`.
PRESETS.register(
    "thorough", summary="longer trainings, five times as many images, five seeds, five whole runs"
)(
    {
        "adapt": {"steps": 2000},
        "draw": {"times": 5, "min_per_class": 500},
        "compare": {"steps": 1500, "num_seeds": 5},
    },
)

REPEATS: Mapping[str, int] = {"thorough": 5}
"""Whole runs that `understudy run` does with a preset; one with the other presets. An interval over N runs
extends 2.5 standard deviations to each side for N = 3, 1.2 for 5, and 0.8 for 8: five runs halve the interval
of three for less than twice the time."""

RECIPES: Registry[Mapping[str, Any]] = Registry("recipe")
# Time and hardware: those of the preset. Result: with all 600 train images, classifiers trained on as many
# synthetic images reach 98% of the accuracy of classifiers trained on the real ones. Source: plain
# fine-tuning.
RECIPES.register(
    "adapted", summary="the default: fit the generator to the train split, draw from pure noise"
)({})
# Time: less than `adapted`, since nothing is adapted. Result: 62.7% accuracy with 600 synthetic images, where
# adapted generators reach 97.1%. Source: the baseline of every paper below.
RECIPES.register(
    "vanilla", summary="draw with the generator without adaptation: the baseline that adaptation has to beat"
)({"adapt": {"method": "none"}})
# Time: a quarter less drawing than `adapted`, since only the last 75% of the solver steps are taken. Result:
# starting from real images gained 1 point over `adapted`, measured with draw.start_snr=0.385 rather than this
# strength; images come closer to the real ones. Source: one component of Real-Fake, Yuan et al. 2024.
RECIPES.register(
    "latent-prior",
    summary="adapted, and every image starts from a real image of its class plus noise (strength 0.75)",
)({"draw": {"strength": 0.75}})
# Time: three times the drawing of `adapted`, and three more trainings, which choose the images. Result: in
# one trial no gain (docs/methods/curation.md). Source: Askari-Hemmat et al. 2025 (Deliberate Practice), in
# the form that draws more images than it keeps.
RECIPES.register(
    "deliberate",
    summary="adapted, and images are kept in four rounds: those of which a classifier is still most unsure",
)({"curate": {"select": "deliberate"}})

_STYLED = "A {class} photo in the style of {token}"  # Li et al. 2024 (arXiv:2403.19866)
_TOKEN_TRAINING: Mapping[str, Any] = {
    "prompt": _STYLED,
    "batch_size": 16,
    "learning_rate": 0.1,  # chosen for mini on validation images
    "caption_dropout": 0.0,  # an empty prompt has no token to learn from
}
# Time: 76 seconds to learn the token. Result: images come closer to the real ones (MMD 0.19, 0.24 for
# `neutral-token`), but accuracy does not rise: 56.2% against 62.5%. Source: Li et al. 2024
# (arXiv:2403.19866).
RECIPES.register(
    "style-inversion",
    summary="Dataset Style Inversion (Li et al. 2024): one learned token for the style of the whole set",
)(
    {"adapt": {"method": "style-inversion", **_TOKEN_TRAINING}, "draw": {"prompt": _STYLED}},
)
# Time: 24 seconds to learn the tokens. Result: 65.2% accuracy. Source: Gal et al. 2023, as compared by Li et
# al. 2024.
RECIPES.register(
    "textual-inversion",
    summary="a comparison for style-inversion: a learned token for each class, in the same prompt",
)(
    {"adapt": {"method": "textual-inversion", **_TOKEN_TRAINING}, "draw": {"prompt": _STYLED}},
)
# Time: a second to measure the loss; nothing is learned. Result: 62.5% accuracy, as `vanilla`. Source: a
# control of this project.
RECIPES.register(
    "neutral-token",
    summary="a control for style-inversion: the same prompt, with a token that is not trained",
)(
    {"adapt": {"method": "neutral-token", "prompt": _STYLED}, "draw": {"prompt": _STYLED}},
)

_STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_REAL_FAKE: Mapping[str, Any] = {
    "generator": {"name": _STABLE_DIFFUSION, "image_encoder": "openai/clip-vit-large-patch14"},
    "captions": {"source": "model"},
    "visual": {"kind": "class-mean"},
    "adapt": {
        "method": "lora",
        "rank": 4,
        "targets": ["attention"],
        "prompt": "real-fake-train",
        "steps": 15_000,  # 13 epochs of ImageNette; the paper's 100 take eight times as long
        "batch_size": 8,
        "learning_rate": 1e-4,
        "min_snr_gamma": 5.0,
        "distribution": "batch-mean",
        "caption_dropout": 0.0,
        "ema_decay": 0.0,
        "augmentation": "flip-crop",
        "validate_every": 1000,
    },
    "draw": {
        "prompt": "real-fake-draw",
        "negative_prompt": REAL_FAKE_NEGATIVE,
        "sampler": "unipc",
        "steps": 30,
        "guidance_scale": 2.0,
        "strength": 0.75,
        "adapter_scale": 0.5,
        "min_per_class": 1,
        "batch_size": 8,
    },
    "curate": {"score": "none"},
    "compare": {"augmentation": "flip-crop"},
}
# Time and hardware: a GPU; 15,000 steps of adaptation. We have not run it at this size. Result in the paper:
# a classifier trained on synthetic images alone reaches 90.5% on ImageNette and 80.0% on ImageNet-100, where
# real images give 93.0% and 86.3%. Source: Yuan et al. 2024 (Real-Fake).
RECIPES.register(
    "real-fake",
    summary="the images of Real-Fake (Yuan et al. 2024), by Stable Diffusion; classifiers as in every run",
)(_REAL_FAKE)
# Time and hardware: a GPU; 100 epochs of ImageNette for adaptation, and 200 for every training of a
# classifier. We have not run it at this size. Result in the paper: as above. Source: Yuan et al. 2024 and,
# where the paper says nothing, their code. Its number of devices is not given: eight here.
_REAL_FAKE_PAPER: Mapping[str, Any] = {
    **_REAL_FAKE,
    "adapt": {
        **_REAL_FAKE["adapt"],
        "steps": 14_800,  # 100 epochs of ImageNette on eight devices with 8 images each
        "batch_size": 64,
        "micro_batch": 8,
        "augmentation": "flip",
        "crop": "random",
        "latents": "sample",
        "keep": "last",
    },
    "compare": {
        "backbone": "resnet50",
        "pretrained": False,
        "optimiser": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "schedule": "quarters",
        "augmentation": "random-resized-crop-jitter",
        "batch_size": 512,
        "steps": 3600,  # 200 epochs of ImageNette: 18 full batches each
    },
}
RECIPES.register(
    "real-fake-paper",
    summary="Real-Fake as published, with its way to train classifiers: ResNet-50 from random weights, SGD",
)(_REAL_FAKE_PAPER)
# Time and hardware: as `real-fake`. We have not run it at this size. Source: the code of the authors.
RECIPES.register(
    "real-fake-released",
    summary="real-fake with the distribution term and the image feature of the authors' code",
)(
    {
        **_REAL_FAKE,
        "visual": {"kind": "per-image"},
        "adapt": {**_REAL_FAKE["adapt"], "distribution": "batch-sum"},
    }
)
# Time and hardware: minutes on two CPU cores. Result: 98.4% accuracy with 600 synthetic images, where 600
# real ones give 99.3%; but images come closer to training images than held-out real images do. Source: Yuan
# et al. 2024.
RECIPES.register(
    "real-fake-mini",
    summary="the four components of Real-Fake with settings of ours, chosen for mini on validation images",
)(
    {
        "visual": {"kind": "per-image"},
        "adapt": {"distribution": "batch-mean"},
        "draw": {"start_snr": 0.385, "guidance_scale": 1.0, "min_per_class": 1},
        "curate": {"score": "none"},
    },
)
_BRIDGED: Mapping[str, Any] = {"equal_steps": False, "transferability": True}
# The weight decay stays at its default: 0.01 and 0.1 differed by at most 0.033 in validation loss.
_BRIDGED_TUNE: Mapping[str, Any] = {"learning_rates": [1e-3, 3e-3, 1e-2, 3e-2]}
# Time and hardware: four trials of tuning for each of twelve arms, so many times the training of `adapted`;
# two CPU cores suffice for `mini`. Result: `bridged` gains 9.3 points over tuned `real` with 1 image per
# class, 2.8 with 4 and none with all; with 1, fonts in place of the generator did about as well
# (docs/limits.md). Source: Li et al. 2024 (arXiv:2403.19866).
RECIPES.register(
    "bridged-transfer",
    summary="Bridged Transfer (Li et al. 2024) and its controls: each phase as long as vanilla transfer",
)(
    {
        "compare": {
            "arms": [
                *("real", "real-long", "real+mixup", "real+reinit", "synthetic", "mixed", "mixed-balanced"),
                *("bridged", "bridged+reinit", "bridged+mixup", "bridged++", "bridged-neutral"),
            ],
            **_BRIDGED,
        },
        "tune": _BRIDGED_TUNE,
    }
)
# Time and hardware: a GPU; 1,000 images per class with 50 steps, two passes of the network each. We have not
# run it at this size. Result in the paper: `bridged++` gains 0.5 to 7.8 points over `real` on ten sets, where
# nothing says that `real` was tuned. Source: Li et al. 2024 (arXiv:2403.19866); what it does not give is
# as in `bridged-transfer`.
RECIPES.register(
    "bridged-transfer-paper",
    summary="Bridged Transfer (Li et al. 2024) as in the paper: Stable Diffusion 1.5 unchanged, no filter",
)(
    {
        "generator": {"name": _STABLE_DIFFUSION},
        "adapt": {"method": "none"},
        "draw": {
            "prompt": "photographs-and-art",  # eighty of ours in place of those of CLIP
            "sampler": "ddpm",
            "steps": 50,  # not given; the default of diffusers
            "guidance_scale": 3.5,
            "per_class": 1000,
            "batch_size": 8,
        },
        "curate": {"score": "none"},
        "compare": {
            "arms": ["real", "mixed", "bridged", "bridged+reinit", "bridged++"],
            **_BRIDGED,
            "backbone": "resnet18.tv_in1k",  # the paper does not say whose weights
            "augmentation": "random-resized-crop",
            "label_smoothing": 0.0,
        },
        "tune": _BRIDGED_TUNE,
    }
)
