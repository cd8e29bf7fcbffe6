"""An instruction model of transformers that answers requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
from jinja2 import TemplateError

from understudy.core.hub import load_network
from understudy.data.captions.wanted import WantedModel

WRITER = WantedModel(
    "captions.language_model must be a language model",
    "give the folder or hub name of an instruction model such as Qwen/Qwen2.5-1.5B-Instruct, or your own "
    "captions with captions.source=file",
)
"""What ``captions.language_model`` must name."""
_WORKING = replace(WRITER, must="captions.language_model must answer a request")
_WRITES = ("ForCausalLM", "LMHeadModel")


@final
@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A decoder with its tokenizer.

    Attributes:
        name: name of the model, for messages.
        model: a network such as Llama, Qwen2 or GPT-2.
        tokenizer: with or without a chat template; pads on the left.
    """

    name: str
    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, name: str, *, device: str) -> Self:
        """Load a model by folder or hub name.

        Raises:
            InputError: if it cannot be loaded or is not a language model with a decoder alone.
        """
        # slow to import, and most runs have no language model
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        WRITER.check(name)
        try:
            _check_kind(AutoConfig.from_pretrained(name))
            tokenizer = AutoTokenizer.from_pretrained(name)
            _check_tokenizer(tokenizer)
            model = load_network(AutoModelForCausalLM, name, dtype=dtype)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            ImportError,
            SafetensorError,
        ) as error:
            raise WRITER.error(name, error) from error
        if tokenizer.pad_token is None:  # padding is masked, so any token will do
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
        tokenizer.padding_side = "left"
        # Settings for sampling, which greedy decoding would only warn of.
        model.generation_config.update(temperature=None, top_p=None, top_k=None)
        return cls(name, model.to(device).eval(), tokenizer)

    @torch.inference_mode()
    def answer(self, requests: Sequence[str], *, max_new_tokens: int) -> list[str]:
        """Answers to B requests, decoded greedily.

        Raises:
            InputError: if the model cannot answer, for instance because its chat template does not fit.
        """
        has_template = bool(self.tokenizer.chat_template)
        try:
            texts = [self._as_chat(each) if has_template else f"{each}\nCaption:" for each in requests]
            inputs = self.tokenizer(
                texts, padding=True, return_tensors="pt", add_special_tokens=not has_template
            ).to(self.model.device)
            tokens = self.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, TemplateError) as error:
            raise _WORKING.error(self.name, error) from error
        written = tokens[:, inputs["input_ids"].shape[1] :]
        return list(self.tokenizer.batch_decode(written, skip_special_tokens=True))

    def _as_chat(self, request: str) -> str:
        chat = [{"role": "user", "content": request}]
        return str(self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def _check_kind(config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"this {config.model_type!r} model has an encoder and a decoder, not a decoder alone"
        )
    architectures = config.architectures or []
    if architectures and not any(name.endswith(_WRITES) for name in architectures):
        raise ValueError(f"this is a {config.model_type!r} model ({architectures[0]}), which writes no text")


def _check_tokenizer(tokenizer: Any) -> None:
    """Check that there is one; transformers makes an empty one for some models without its files."""
    tokens = tokenizer("a caption").input_ids
    if not set(tokens) - {*tokenizer.all_special_ids}:
        raise ValueError("it has no tokenizer")
