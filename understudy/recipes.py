"""Documented bundles of settings: presets say how much effort is spent, recipes say which method is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.registry import Registry
from understudy.generators.prompts import REAL_FAKE_NEGATIVE

PRESETS: Registry[Mapping[str, Any]] = Registry("preset")
PRESETS.register("quick", summary="a first answer in minutes: short trainings, three seeds")(
    {"adapt": {"steps": 300}, "compare": {"steps": 200}},
)
PRESETS.register("standard", summary="the defaults")({})
PRESETS.register("thorough", summary="longer trainings, five times as many images, five seeds")(
    {"adapt": {"steps": 2000}, "draw": {"times": 5, "min_per_class": 500}, "compare": {"steps": 1500, "num_seeds": 5}},
)

RECIPES: Registry[Mapping[str, Any]] = Registry("recipe")
RECIPES.register("adapted", summary="the default: fit the generator to the train split, draw from pure noise")({})
RECIPES.register("vanilla", summary="draw with the generator as it is: the floor that adaptation has to beat")(
    {"adapt": {"method": "none"}}
)
RECIPES.register("latent-prior", summary="adapted, and every image starts from a noised real image of its class (strength 0.75)")(
    {"draw": {"strength": 0.75}},
)

_STYLED = "A {class} photo in the style of {token}"  # Li et al. 2024 (arXiv:2403.19866)
_TOKEN_TRAINING: Mapping[str, Any] = {
    "prompt": _STYLED,
    "batch_size": 16,
    "learning_rate": 0.1,  # chosen for mini, on validation images
    "caption_dropout": 0.0,  # an empty prompt has no token to learn from
}
RECIPES.register("style-inversion", summary="Dataset Style Inversion (Li et al. 2024): one learned token for the style of the whole set")(
    {"adapt": {"method": "style-inversion", **_TOKEN_TRAINING}, "draw": {"prompt": _STYLED}},
)
RECIPES.register("textual-inversion", summary="its comparison: a learned token for each class, in the same prompt")(
    {"adapt": {"method": "textual-inversion", **_TOKEN_TRAINING}, "draw": {"prompt": _STYLED}},
)
RECIPES.register("neutral-token", summary="its control: the same prompt, the token as it begins")(
    {"adapt": {"method": "neutral-token", "prompt": _STYLED}, "draw": {"prompt": _STYLED}},
)

_REAL_FAKE: Mapping[str, Any] = {
    "generator": {"image_encoder": "openai/clip-vit-large-patch14"},
    "captions": {"source": "model"},
    "visual": {"kind": "class-mean"},
    "adapt": {
        "method": "lora",
        "rank": 4,
        "targets": ["attention"],
        "prompt": "real-fake-train",
        "steps": 15_000,  # updates of the release on ImageNette with eight GPUs
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
RECIPES.register("real-fake", summary="Real-Fake (Yuan et al. 2024) for Stable Diffusion, as the paper describes it")(_REAL_FAKE)
RECIPES.register("real-fake-released", summary="Real-Fake as its code was released: summed distribution term, feature of each image")(
    {**_REAL_FAKE, "visual": {"kind": "per-image"}, "adapt": {**_REAL_FAKE["adapt"], "distribution": "batch-sum"}}
)
RECIPES.register("real-fake-mini", summary="Real-Fake for mini: its components with settings chosen on validation images")(
    {
        "visual": {"kind": "per-image"},
        "adapt": {"distribution": "batch-mean"},
        "draw": {"start_snr": 0.385, "guidance_scale": 1.0, "min_per_class": 1},
        "curate": {"score": "none"},
    },
)
RECIPES.register(
    "bridged-transfer", summary="Bridged Transfer (Li et al. 2024) with its controls: every arm, each phase as long as vanilla transfer"
)(
    {
        "compare": {
            "arms": [
                *("real", "real-long", "real+mixup", "real+reinit", "synthetic", "mixed", "mixed-balanced"),
                *("bridged", "bridged+reinit", "bridged+mixup", "bridged++", "bridged-neutral"),
            ],
            "equal_steps": False,
            "transferability": True,
        },
        "tune": {"learning_rates": [1e-3, 3e-3], "weight_decays": [0.01, 0.1]},
    }
)
