"""``kind="auto"``: which family a checkpoint belongs to, by its config, tensor names and shapes, and tokens.

Only headers are loaded. Exactly one family must match: a head that is read the wrong way still gives plausible numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_data.errors import ScorerError
from asr_data.scoring.adapter import CONFIG as ADAPTER_CONFIG
from asr_data.scoring.adapter import adapter_head_shapes
from asr_data.scoring.config import CONFIG_NAME, ScorerConfig, TokenHeadConfig
from asr_data.scoring.model_config import read_json_object
from asr_data.scoring.presets import Preset, Signs, all_presets
from asr_data.scoring.weights import no_weights, shapes

_BODY = ("model.", "transformer.", "gpt_neox.", "lm_head.", "backbone.", "embed_tokens", "layers.", "norm.")
"""Beginnings of the names that tensors of a decoder bear."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What can be seen of a checkpoint without loading it.

    Attributes:
        architectures, model_type: from config.json.
        tensors: name → shape, from the headers of its safetensors files.
        tokens: added tokens → id; only the added ones are read.
        chat_template: whether its tokenizer has one.
    """

    architectures: tuple[str, ...]
    model_type: str
    tensors: dict[str, tuple[int, ...]]
    tokens: dict[str, int]
    chat_template: bool

    @property
    def heads(self) -> list[str]:
        """Tensors that are no decoder's."""
        return sorted(name for name in self.tensors if not name.startswith(_BODY))


def recognise(directory: Path, *, adapter: Path | None = None, pickles: bool = False) -> tuple[ScorerConfig, str]:
    """Settings for a checkpoint, and why.

    Args:
        directory: of the checkpoint.
        adapter: the directory of an adapter for it, which may bring a head.
        pickles: whether weights may come from pickle files.

    Raises:
        ScorerError: no family matches, or more than one; says what was seen and what to do.
    """
    seen = look_at(directory, adapter=adapter, pickles=pickles)
    named = adapter or directory
    found = [preset for preset in all_presets().values() if preset.signs is not None and _fits(seen, preset.signs)]
    if len(found) == 1:
        return found[0].config, f"{found[0].title}: {_evidence(seen, found[0])}"
    if found:
        names = ", ".join(preset.name for preset in found)
        raise ScorerError(
            f"{named} matches more than one family ({names}), and each is read differently; choose one with "
            f"--preset ({_described(seen)})"
        )
    raise ScorerError(f"{named} matches no known family: {_described(seen)}. {_advice(seen)}")


def look_at(directory: Path, *, adapter: Path | None = None, pickles: bool = False) -> Checkpoint:
    """Read config.json, headers and tokenizer settings; see :func:`recognise`.

    Raises:
        ScorerError: a file is missing or cannot be read.
    """
    config = read_json_object(directory / "config.json")
    tensors = shapes(directory, pickles=pickles)
    if not tensors:
        raise ScorerError(no_weights(directory))
    architectures = tuple(str(name) for name in _list(config.get("architectures")))
    model_type = str(config.get("model_type", ""))
    if adapter is not None:
        architectures = _adapted(read_json_object(adapter / ADAPTER_CONFIG), model_type) or architectures
        tensors = tensors | adapter_head_shapes(adapter)
    own = directory if adapter is None or not (adapter / "tokenizer.json").is_file() else adapter
    settings = _optional(own / "tokenizer_config.json")
    added = [token for token in _list(_optional(own / "tokenizer.json").get("added_tokens")) if isinstance(token, dict)]
    return Checkpoint(
        architectures=architectures,
        model_type=model_type,
        tensors=tensors,
        tokens={str(t["content"]): t["id"] for t in added if "content" in t and isinstance(t.get("id"), int)},
        chat_template=bool(settings.get("chat_template")) or any(own.glob("chat_template.*")),
    )


def _adapted(settings: dict[str, Any], model_type: str) -> tuple[str, ...]:
    """The architecture that an adapter was trained on, by its task; the base's own config.json may name another."""
    from transformers.models.auto import modeling_auto

    names = {
        "SEQ_CLS": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "TOKEN_CLS": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    }.get(str(settings.get("task_type")), {})
    found = names.get(model_type)
    return () if found is None else (str(found),)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _fits(seen: Checkpoint, signs: Signs) -> bool:
    weights = [name for name in signs.tensors if name.endswith("weight")]
    return (
        (not signs.architectures or bool(set(signs.architectures) & set(seen.architectures)))
        and (not signs.model_types or seen.model_type in signs.model_types)
        and all(name in seen.tensors for name in signs.tensors)
        and not any(name in seen.tensors for name in signs.absent)
        and (signs.labels is None or (bool(weights) and seen.tensors[weights[-1]][:1] == (signs.labels,)))
        and all(seen.tokens.get(text) == number for text, number in signs.tokens.items())
        and (signs.chat_template is None or signs.chat_template == seen.chat_template)
    )


def _evidence(seen: Checkpoint, preset: Preset) -> str:
    signs = preset.signs or Signs()
    parts = [f"architecture {', '.join(seen.architectures) or 'unnamed'}"]
    if signs.tensors:
        parts.append(f"head tensors {', '.join(signs.tensors)}")
    if signs.labels is not None:
        parts.append(f"{signs.labels} label{'s' if signs.labels > 1 else ''}")
    return ", ".join(parts)


def _described(seen: Checkpoint) -> str:
    shapes = [f"{name} {list(seen.tensors[name])}" for name in seen.heads[:8]]
    heads = f"tensors beside the decoder's: {', '.join(shapes)}" if shapes else "no tensors beside a language model's"
    return f"architecture {', '.join(seen.architectures) or 'unnamed'}, {heads}"


def _advice(seen: Checkpoint) -> str:
    if not seen.heads:
        presets = [
            p.name for p in all_presets().values() if p.config.kind in ("lm_label_tokens", "implicit", "contrast")
        ]
        return (
            "It may be a reward model that answers with label tokens, or a policy whose reference gives it rewards, or "
            f"a language model to be read in two contexts: say which with --preset ({', '.join(presets)})"
        )
    example = TokenHeadConfig().model_dump(mode="json", include={"kind", "head", "transform", "indices"})
    return (
        f"If its head is read like that of a known family, name it with --preset (asr-annotate scorers lists them); "
        f"else put a {CONFIG_NAME} beside its config.json, for example {json.dumps(example)}"
    )
