"""The generators of a run: the main one, and further ones adapted with other seeds when first used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.adaptation.adapter import apply_adapter, load_projection, read_adapter_report
from understudy.adaptation.fit import AdaptStep, adapt
from understudy.adaptation.inputs import AdaptData
from understudy.core.errors import InputError
from understudy.core.progress import Observer, Silent
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator, adaptable
from understudy.generators.load import forget_kept, give_back, load_generator
from understudy.generators.precision import drawing_precision
from understudy.generators.silence import no_progress_bars
from understudy.generators.visual_guidance import VisualGuidance, check_widths, features_of
from understudy.pipeline.checks import add_adapter_or_tokens, learns_words
from understudy.pipeline.encoders import term_encoders
from understudy.sampling.plan import Planner, quotas
from understudy.sampling.settings import DrawSettings
from understudy.settings import Settings

_SEED_STEP = 1_000_003  # distance between the seeds that adapt the generators of a run


@final
@dataclass(frozen=True, kw_only=True)
class Generators:
    """Loads and adapts the generators of a run. They have numbers, and 0 is the main one.

    Attributes:
        folder: ``adapter`` in the run folder; further generators have ``member-N`` below it.
        settings: of the run.
        train, val: real images to adapt to.
        prompt_names: words for each class in prompts.
        feature_cache: file for the image features that guide drawing.
        device: torch device.
        observer: receives the progress of adapting further generators.
        drew: fingerprint that a generator without an adapter must have, because it has drawn images of this
            run or because the run's adapter was made for it; None if it may have any.
        templates: path of the run's copy for each template file that a prompt setting names.
    """

    folder: Path
    settings: Settings
    train: LabelledSet
    val: LabelledSet
    prompt_names: tuple[str, ...]
    feature_cache: Path
    device: str
    observer: Observer
    drew: str | None = None
    templates: Mapping[str, Path] = field(default_factory=dict)
    _loaded: dict[int, Generator] = field(default_factory=dict, init=False, repr=False)
    _fingerprints: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        no_progress_bars()

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without networks and observer, and so that they notice another base model."""
        state = {name: value for name, value in self.__dict__.items() if name != "visual"}
        return state | {"_loaded": {}, "observer": Silent(), "drew": self._fingerprints.get(0, self.drew)}

    @property
    def main(self) -> Generator:
        """The generator with its adapter, read from disk so that a resumed run draws the same images."""
        return self.get(0)

    @property
    def files(self) -> Sequence[Path]:
        """Files and folders of the run that are read to load the generators."""
        return [path for path in (self.folder, self.feature_cache, *self.templates.values()) if path.exists()]

    @cached_property
    def visual(self) -> VisualGuidance | None:
        """The image features that guide drawing; None if drawing is not guided."""
        kind = self.settings.visual.when_drawing
        if kind == "none":
            return None
        projection = load_projection(self.folder)
        generator = adaptable(self.main)
        check_widths(generator, projection=projection is not None)
        features = features_of(generator, self.train, cache=self.feature_cache)
        return VisualGuidance(
            features, self.train, kind=kind, images=self.settings.visual.images, projection=projection
        )

    def free(self) -> None:
        """Give the memory of the networks back; they are loaded again if something must be drawn."""
        self._loaded.clear()
        self.__dict__.pop("visual", None)
        forget_kept()

    def draws_for(self, settings: Settings) -> bool:
        """Whether these generators draw the images of such settings; those of control arms need others."""
        return (settings.generator, settings.adapt, settings.visual) == (
            self.settings.generator,
            self.settings.adapt,
            self.settings.visual,
        )

    def of_control(self, settings: Settings) -> Generators:
        """Generators for a control arm: the run's own without its adapter, or ready-made images."""
        is_same = settings.generator == self.settings.generator
        return replace(self, settings=settings, drew=self._base_fingerprint if is_same else None)

    @property
    def _base_fingerprint(self) -> str | None:
        """Fingerprint of the run's generator without its adapter."""
        if self.settings.adapt.method == "none":
            return self.drew
        base: str | None = read_adapter_report(self.folder).get("base")
        return base

    def get(self, number: int) -> Generator:
        """Generator ``number``, with its adapter, which must be there."""
        if number not in self._loaded:
            self._loaded[number] = self._load(self.adapter_folder(number))
            if self.settings.adapt.method == "none":
                self._fingerprints[number] = self._loaded[number].fingerprint
        return self._loaded[number]

    def fingerprint(self, number: int) -> str:
        """Fingerprint of an adapter; empty for a generator that was not adapted."""
        if self.settings.adapt.method == "none":
            return ""
        return str(read_adapter_report(self.adapter_folder(number))["fingerprint"])

    def adapter_folder(self, number: int) -> Path:
        """The folder with the adapter of a generator."""
        return self.folder / f"member-{number}" if number else self.folder

    def adapt_further(self, number: int) -> Iterator[AdaptStep]:
        """Fit generator ``number``, at least 1, with a seed of its own."""
        seed = self.settings.seed + _SEED_STEP * number
        with_seed = replace(self, settings=self.settings.model_copy(update={"seed": seed}))
        return with_seed.adapt(self.adapter_folder(number))

    def adapt(self, folder: Path) -> Iterator[AdaptStep]:
        """Fit the generator to the train images and write ``folder``; continues from a checkpoint in it."""
        generator = self._base()
        # Checking adds words to a generator, and adapting needs one without them: so another one is checked.
        self._check_prompts(self._base() if learns_words(self.settings) else generator)
        data = AdaptData(
            train=self.train,
            val=self.val,
            prompt_names=self.prompt_names,
            feature_cache=self.feature_cache,
            encoders=term_encoders(self.settings, device=self.device),
        )
        yield from adapt(
            adaptable(generator),
            data,
            settings=self.settings.adapt.model_copy(
                update={"prompt": self._kept(self.settings.adapt.prompt)}
            ),
            seed=self.settings.seed,
            folder=folder,
            visual=self.settings.visual,
        )
        give_back(generator, self.settings.generator, device=self.device)

    def planner(self, draw: DrawSettings, number: int = 0) -> Planner:
        """The planner of the images that generator ``number`` draws with these settings."""
        return self._planner(self.get(number), draw, number=number, adapter=self.fingerprint(number))

    def _check_prompts(self, generator: Generator) -> None:
        """Plan all images now, so that a prompt that is too long is reported before hours of adaptation."""
        add_adapter_or_tokens(generator, self.settings, num_classes=self.train.num_classes)
        generator.learn_classes(self.prompt_names, seed=self.settings.seed)
        quota = quotas(self.train, self.settings.draw)
        self._planner(generator, self.settings.draw, number=0, adapter="").check(np.zeros_like(quota), quota)

    def _planner(self, generator: Generator, draw: DrawSettings, *, number: int, adapter: str) -> Planner:
        prompts = {"prompt": self._kept(draw.prompt), "negative_prompt": self._kept(draw.negative_prompt)}
        return Planner(
            train=self.train,
            generator=generator,
            settings=draw.model_copy(update=prompts),
            prompt_names=self.prompt_names,
            seed=self.settings.seed,
            tokens=self.settings.adapt.tokens(self.train.num_classes),
            visual=self.settings.visual.when_drawing,
            generator_number=number,
            adapter=adapter,
            precision=drawing_precision(draw.precision, self.settings.generator, self.device),
        )

    def _kept(self, prompt: str) -> str:
        """A prompt setting with the run's copy in place of a template file."""
        return str(self.templates.get(prompt, prompt))

    def _base(self) -> Generator:
        """The generator without its adapter."""
        return load_generator(self.settings.generator, device=self.device)

    def _load(self, folder: Path) -> Generator:
        generator = self._base()
        is_plain = self.settings.adapt.method == "none"  # otherwise the adapter knows its generator
        if is_plain and self.drew is not None and generator.fingerprint != self.drew:
            raise InputError(
                f"the generator {self.settings.generator.name} has changed since this run drew its images "
                f"(fingerprint {self.drew} then, {generator.fingerprint} now): restore it, or start a new "
                "run with another --out"
            )
        if self.settings.adapt.method != "none":
            guided = self.settings.visual.when_drawing != "none"
            scale = self.settings.draw.adapter_scale
            apply_adapter(adaptable(generator), folder, scale=scale, visual=guided)
        return generator


def progress_of(steps: Iterator[AdaptStep]) -> Iterator[int]:
    """The progress of an adaptation in steps; a resumed adaptation starts at a later step."""
    done = 0
    for step in steps:
        yield step.step - done
        done = step.step
