"""``train-scorer --method features``: a head on a frozen model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from asr_data.errors import ConfigError
from asr_data.progress import Progress
from asr_data.scoring.budget import default_batch_tokens
from asr_data.scoring.config import CONFIG_NAME, HeadConfig, PackagedBackbone, TokenHeadConfig
from asr_data.scoring.contexts import Contexts
from asr_data.scoring.decoder import Decoder, load_decoder, pick_device, pick_dtype
from asr_data.scoring.engine import Engine
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.feature_head import FeatureEncoder, FeatureHead, FeatureReadout
from asr_data.scoring.language_head import load_language_head
from asr_data.scoring.language_kinds import partner_shown
from asr_data.scoring.layer_states import WithLayer
from asr_data.text.tokenizer import Tokenizer
from asr_data.training.config import TrainingConfig
from asr_data.training.encode import PROMPT
from asr_data.training.feature_figures import feature_figures
from asr_data.training.feature_fit import fit
from asr_data.training.feature_recipe import recipe
from asr_data.training.feature_tables import Asked, Asking, read_tables, within_budget
from asr_data.training.loop import DEFAULT_MAX_TOKENS
from asr_data.training.report import Figure
from asr_data.training.sources import SourceData
from asr_data.training.split import hold_out


@dataclass(frozen=True, slots=True)
class FeatureTraining:
    """What the report says of a training with features."""

    figures: list[Figure]
    curve: list[dict[str, float]]
    counts: dict[str, int]
    left_out: dict[str, int]


def train_features(
    config: TrainingConfig,
    sources: Sequence[SourceData],
    base: tuple[Tokenizer, PackagedBackbone | str],
    output: Path,
    work: Path,
    progress: Progress,
) -> FeatureTraining:
    """Read the examples with the frozen model, fit a head, write it to ``output`` and measure it.

    Args:
        config: with ``method`` ``features``.
        sources: the data.
        base: the model's tokenizer, and how the scorer's settings name the model.
        output: directory of the scorer.
        work: keeps what was read, so that a run that was stopped goes on.
        progress: told what is done.
    """
    tokenizer, reference = base
    reader = _Reader(config, tokenizer, reference, output)
    train, held_out, left_out = reader.split(sources)
    for reason, count in sorted(left_out.items()):
        progress.message(f"{count:,} examples left out, {reason}")
    tokens = sum(one.tokens for one in (*train, *held_out))
    progress.message(f"reading {len(train):,} examples to learn from, {len(held_out):,} held out: {tokens:,} tokens")
    learnt, measured = (
        read_tables(part, reader.encoder, reader.runner, work / "read", progress) for part in (train, held_out)
    )
    head, features, curve = fit(learnt, reader.features, config.seed, progress)
    _save(head, features, reference, output)
    figures = feature_figures(measured, head, features, config.seed)
    counts = Counter(f"train {read.asked.source}" for read in learnt)
    counts += Counter(f"held out {read.asked.source}" for read in measured)
    return FeatureTraining(figures, curve, dict(counts), left_out)


class _Reader:
    """The frozen model, and what is asked of it."""

    def __init__(
        self, config: TrainingConfig, tokenizer: Tokenizer, reference: PackagedBackbone | str, output: Path
    ) -> None:
        self._config = config
        device = pick_device("auto")
        hub = not Path(config.base).is_dir()
        settings = TokenHeadConfig(backbone=reference, prompt=PROMPT)
        decoder = load_decoder(settings, output, device, pick_dtype("auto", device), pickles=False, hub=hub)
        self.features = recipe(_layer(config, decoder))
        settings = settings.model_copy(update={"features": self.features})
        nothing = FeatureHead(decoder.hidden, 1, self.features)
        alone = Contexts(("prompt",), "both", conversations=True)
        self.encoder = FeatureEncoder(tokenizer, settings, alone, partner_shown(settings, tokenizer), nothing)
        self._asking = Asking(
            self.encoder, FeatureEncoder(tokenizer, settings, alone, None, nothing), alone, config.max_length
        )
        readout = FeatureReadout(nn.Identity(), load_language_head(decoder), decoder.hidden, self.features)
        backbone = decoder.model if self.features.layer is None else WithLayer(decoder.model, self.features.layer)
        batch_tokens = default_batch_tokens(decoder.model)
        self.runner = Engine(backbone, readout, batch_tokens=batch_tokens, entry=decoder.entry)

    def split(self, sources: Sequence[SourceData]) -> tuple[list[Asked], list[Asked], dict[str, int]]:
        """Examples to learn from, those held out, and what is left out, by source and reason."""
        config = self._config
        left_out = Counter({f"{source.name}: {code}": n for source in sources for code, n in source.left_out.items()})
        train: list[Asked] = []
        held_out: list[Asked] = []
        for source in sources:
            asked, reasons = self._asking.ask(source.examples, source.name)
            left_out.update({f"{source.name}: {code}": count for code, count in reasons.items()})
            share = {"all": config.held_out, "train": 0.0, "test": 1.0}[source.config.part]
            kept, out = hold_out(asked, share, config.seed)
            train += kept
            held_out += out
        taught = {one.group for one in train}
        held_out = [one for one in held_out if one.group not in taught]
        budget = config.max_tokens or DEFAULT_MAX_TOKENS
        train = within_budget(train, budget, config.mixing, config.seed)
        if not train:
            counted = [f"{reason}: {count:,}" for reason, count in sorted(left_out.items())]
            raise ConfigError("; ".join(["no training example is left", *counted]))
        return train, within_budget(held_out, budget // 2, config.mixing, config.seed), dict(left_out)


def _layer(config: TrainingConfig, decoder: Decoder) -> int | None:
    """The layer whose hidden state is read: by default the one half-way up."""
    layers = int(decoder.model.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr, operator] # HF models
    return (layers // 2 or None) if config.layer is None else config.layer


def _save(head: FeatureHead, features: FeatureConfig, reference: PackagedBackbone | str, output: Path) -> None:
    tensors = {f"score.{name}": tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    path = output / "head.safetensors"
    save_file(tensors, path)
    path.chmod(0o644)  # safetensors makes it private
    settings = TokenHeadConfig(
        backbone=reference, head=HeadConfig(file="head.safetensors"), prompt=PROMPT, features=features
    )
    text = settings.model_dump_json(indent=1, exclude_none=True)
    (output / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
