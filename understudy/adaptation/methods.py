"""Adaptation methods: which weights of the generator are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from understudy.core.errors import InputError, first_line
from understudy.core.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from understudy.adaptation.settings import AdaptSettings
    from understudy.generators.generator import Adaptable


class Prepare(Protocol):
    """Prepares a generator for training."""

    def __call__(
        self, generator: Adaptable, settings: AdaptSettings, *, seed: int, num_classes: int
    ) -> list[nn.Parameter]:
        """The parameters to train; ``seed`` decides the initial values of new ones."""


METHODS: Registry[Prepare] = Registry("adaptation method")

_LAYERS = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "convolutions": (
        *("conv1", "conv2", "conv_shortcut", "conv_in", "conv_out"),
        *("time_emb_proj", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    ),
}
# The feed-forward layers of Sana; its third one is depthwise, and peft has no updates for that.
_ONLY_SANA = ("conv_inverted", "conv_point")


@METHODS.register("none", summary="use the generator without adaptation, as a baseline")
def _none(
    generator: Adaptable, settings: AdaptSettings, *, seed: int, num_classes: int
) -> list[nn.Parameter]:
    return []


@METHODS.register(
    "lora", summary="low-rank updates of attention and convolution layers (Hu et al. 2022, arXiv:2106.09685)"
)
def _lora(
    generator: Adaptable, settings: AdaptSettings, *, seed: int, num_classes: int
) -> list[nn.Parameter]:
    import torch  # slow, as peft is; `understudy list` needs only the names
    from peft import LoraConfig

    denoiser = generator.denoiser
    layers = [name for name, _ in denoiser.named_modules()]
    for target in settings.targets:
        if target not in _LAYERS and not any(f".{name}".endswith(f".{target}") for name in layers):
            raise InputError(
                f"adapt.targets must be {', '.join(_LAYERS)} or endings of the denoiser's module names, got "
                f"{target!r}"
            )
    names = [name for target in settings.targets for name in _LAYERS.get(target, (target,))]
    if "convolutions" in settings.targets:
        names += [name for name in _ONLY_SANA if any(layer.endswith(f".{name}") for layer in layers)]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or settings.rank,
        init_lora_weights="gaussian",
        target_modules=names,
    )
    with torch.random.fork_rng(devices=[]):  # peft draws its initial weights from the global generator
        torch.manual_seed(seed)
        try:
            cast("Any", denoiser).add_adapter(config)
        except ValueError as error:
            targets = ", ".join(settings.targets)
            raise InputError(f"adapt.targets {targets}: {first_line(error)}") from error
    trainable = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.data = parameter.data.float()
    return trainable


@METHODS.register("full", summary="every weight of the denoiser; for small generators such as mini")
def _full(
    generator: Adaptable, settings: AdaptSettings, *, seed: int, num_classes: int
) -> list[nn.Parameter]:
    dtype = str(next(generator.denoiser.parameters()).dtype).removeprefix("torch.")
    if dtype != "float32":
        raise InputError(
            f"adapt.method 'full' needs generator.precision float32, got {dtype}: set it, or use 'lora'"
        )
    generator.denoiser.requires_grad_(requires_grad=True)
    return list(generator.denoiser.parameters())


@METHODS.register(
    "style-inversion",
    summary="one token for the style of the whole set, all else frozen (Li et al. 2024, arXiv:2403.19866)",
)
@METHODS.register(
    "textual-inversion", summary="one token per class, all else frozen (Gal et al. 2022, arXiv:2208.01618)"
)
@METHODS.register(
    "neutral-token", summary="control: a token that is not trained, so only the words around it matter"
)
def _tokens(
    generator: Adaptable, settings: AdaptSettings, *, seed: int, num_classes: int
) -> list[nn.Parameter]:
    names = list(dict.fromkeys(settings.tokens(num_classes)))
    return generator.learn_tokens(names, num_vectors=settings.num_vectors, initial_word=settings.initial_word)
