"""From typed settings back to the words of the command line, so that what is printed can be typed."""

from __future__ import annotations

from asr_data.config import (
    BaselineConfig,
    BoundaryWeights,
    DatasetBaseline,
    FixedBaseline,
    MaskConfig,
    OptimalConfig,
    PivotConfig,
    RunningBaseline,
    SchmittConfig,
    SegmenterConfig,
)


def mask_words(config: MaskConfig) -> str:
    """The options that give these settings, in full where they matter: ``--segmenter schmitt --delta auto …``."""
    words = [
        segmenter_words(config.segmenter),
        f"--baseline {baseline_word(config.baseline)}",
        f"--reward {config.reward}",
        f"--segment-reward {config.segment_reward}",
    ]
    rest = {"sequence_reward", "noise", "on_empty", "end_token"}
    changed = config.model_dump(include=rest, exclude_defaults=True)
    return " ".join([*words, *(f"--{name.replace('_', '-')} {value}" for name, value in changed.items())])


def segmenter_words(config: SegmenterConfig) -> str:
    """``--segmenter optimal --penalty bic --boundary word=50``."""
    words = f"--segmenter {config.kind}"
    match config:
        case PivotConfig():
            return f"{words} --tau {_multiple(config.tau, config.k)}"
        case SchmittConfig():
            return f"{words} --delta {_multiple(config.delta, config.k)}"
        case OptimalConfig():
            factors = boundary_word(config.boundary or BoundaryWeights())
            return f"{words} --penalty {_plain(config.penalty)} --boundary {factors}"
    return words


def baseline_word(config: BaselineConfig) -> str:
    """``pair``, ``dataset:0.3``, ``running:0.99`` or a number."""
    match config:
        case FixedBaseline():
            return _plain(config.value)
        case DatasetBaseline():
            return f"dataset:{_plain(config.statistic)}"
        case RunningBaseline():
            return f"running:{_plain(config.decay)}"
    return config.kind


def boundary_word(weights: BoundaryWeights) -> str:
    """``inside-word=50,word=50``; what costs 1 is left out, but for one of them where all do."""
    named = {name.replace("_", "-"): value for name, value in weights.model_dump().items() if value != 1}
    return ",".join(f"{name}={_plain(value)}" for name, value in (named or {"word": 1.0}).items())


def _multiple(setting: float | str, k: float) -> str:
    return f"auto:{_plain(k)}" if setting == "auto" else _plain(setting)


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
