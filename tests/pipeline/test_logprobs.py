"""``S_ref_logp`` against transformers, one row at a time, and through every way that makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from asr_data import pipeline
from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import ConfigError
from asr_data.pairs import PairConfig
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.load import load_scorer
from asr_data.scoring.reference import load_reference
from asr_data.storage import open_output, validate
from asr_data.text import align
from asr_data.types import Completion, Row

FP32 = ScoringConfig(dtype="float32", device="cpu")
HEAD = {"score.weight": torch.randn(1, 32, generator=torch.Generator().manual_seed(1))}


@pytest.fixture
def bench(tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]) -> dict[str, Any]:
    weight = torch.randn(len(make_tokenizer().hf), 32, generator=torch.Generator().manual_seed(2))
    language = make_checkpoint(tmp_path / "language", {"lm_head.weight": weight})
    rows = tmp_path / "rows.jsonl"
    lines = []
    for i in range(7):
        prompt = [{"role": "user", "content": f"Question {i}? Café"}]
        sides = {side: [{"role": "assistant", "content": text}] for side, text in
                 (("chosen", f"Yes, {i}. " * (i + 1)), ("rejected", "No 👩."))}  # fmt: skip
        lines.append(json.dumps({"prompt": prompt, **sides}))
    rows.write_text("\n".join(lines), encoding="utf-8")
    source = open_source(rows)
    return {
        "source": source,
        "layout": detect(source.schema, first_records(source)),
        "scorer": load_scorer(make_checkpoint(tmp_path / "scorer", HEAD, {}), scoring=FP32),
        "language": language,
        "reference": load_reference(language, FP32),
        "path": tmp_path,
    }


def run(bench: dict[str, Any], name: str, **options: Any) -> Path:
    output: Path = bench["path"] / name
    settings = {"reference": bench["reference"], "writing": OutputConfig(shard_rows=3), **options}
    scorer = bench["scorer"]
    pipeline.run(bench["source"], bench["layout"], output, scorer, scorer.tokenizer, **settings)
    return output


def rows_of(path: Path) -> Any:
    return datasets.Dataset.from_parquet([str(f) for f in sorted((path / "data").glob("*"))], keep_in_memory=True)


def test_equal_to_transformers(bench: dict[str, Any]) -> None:
    output = run(bench, "out")
    assert validate(output) == []
    require_equal(bench, output)


def test_several_pairs_of_a_row(bench: dict[str, Any]) -> None:
    answers = ["Yes.", "No 👩.", "Perhaps, or not."]
    records = [{"instruction": f"{i}?", "completions": answers, "scores": [3.0, 2.0, 1.0]} for i in range(2)]
    source = open_source(records)
    layout = detect(source.schema, first_records(source)).with_pairs(PairConfig(rule="all"))
    output = run({**bench, "source": source, "layout": layout}, "out")
    assert validate(output) == []
    rows = rows_of(output)
    assert list(zip(rows["asr_row"], rows["asr_pair"], strict=True)) == [
        (row, pair) for row in (0, 1) for pair in range(3)
    ]
    require_equal(bench, output)
    assert rows[0]["chosen_ref_logp"] == rows[1]["chosen_ref_logp"]  # the best answer, in two pairs
    assert rows[0]["rejected_ref_logp"] == rows[2]["chosen_ref_logp"]  # the second one, on either side


def test_what_several_rows_have_is_read_once(bench: dict[str, Any]) -> None:
    reference, asked = bench["reference"], list[int]()
    text = [{"role": "assistant", "content": one} for one in ("Yes.", "No.", "Perhaps.")]
    question = [{"role": "user", "content": "Why?"}]

    def pair(first: int, second: int) -> Any:
        sides = (
            Completion("chosen", [text[first]], preferred=True),
            Completion("rejected", [text[second]], preferred=False),
        )
        return align(Row(0, {}, question, sides), reference.tokenizer)

    class Counting:
        attention = reference.engine.attention

        def run(self, requests: Any, on_tokens: Any = None) -> Any:
            asked.append(len(requests))
            return reference.engine.run(requests, on_tokens)

    rows = [pair(0, 1), pair(0, 2), pair(1, 2)]
    found = replace(reference, engine=Counting()).log_probabilities(rows)
    assert asked == [3]
    for row, mine in zip(rows, found, strict=True):
        for one, alone in zip(mine, reference.log_probabilities([row])[0], strict=True):
            assert one == pytest.approx(alone, abs=1e-4)


def require_equal(bench: dict[str, Any], output: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bench["language"], dtype=torch.float32).eval()
    for row in rows_of(output):
        for side in ("chosen", "rejected"):
            ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
            with torch.inference_mode():
                logs = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            expected = logs[-len(row[f"{side}_ids"]) :].tolist()
            assert row[f"{side}_ref_logp"] == pytest.approx(expected, abs=1e-4)


def test_score_then_mask_equals_run(bench: dict[str, Any]) -> None:
    whole = run(bench, "whole")
    scored = bench["path"] / "scored"
    pipeline.score(
        bench["source"],
        bench["layout"],
        scored,
        bench["scorer"],
        reference=bench["reference"],
        writing=OutputConfig(shard_rows=3),
    )
    assert validate(scored) == []
    assert open_output(scored).manifest.reference is not None
    pipeline.mask(scored, bench["path"] / "masked")
    for name in sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file()):
        assert (whole / name).read_bytes() == (bench["path"] / "masked" / name).read_bytes(), name
    config = datasets.load_dataset(str(whole), "logprobs", split="train", cache_dir=str(bench["path"] / "cache"))
    assert config.column_names == ["asr_row", "chosen_ref_logp", "rejected_ref_logp"]
    again = bench["path"] / "again"
    pipeline.mask(whole, again, mask=MaskConfig.model_validate({"segmenter": {"kind": "token"}}))
    assert rows_of(again)["chosen_ref_logp"] == rows_of(whole)["chosen_ref_logp"]


def test_a_row_that_the_reference_cannot_read(bench: dict[str, Any]) -> None:
    short = load_reference(bench["language"], FP32.model_copy(update={"max_length": 60}))
    output = run(bench, "out", reference=short)
    assert validate(output) == []
    rows = rows_of(output)
    absent = [row["chosen_ref_logp"] is None for row in rows]
    assert any(absent)
    assert not all(absent)
    assert [("no_ref_logp" in row["asr_notes"]) for row in rows] == absent


def test_a_reference_with_another_tokenizer(
    bench: dict[str, Any], make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]
) -> None:
    kind = "metaspace_bpe"
    weight = {"lm_head.weight": torch.zeros(len(make_tokenizer(kind).hf), 32)}
    other = load_reference(make_checkpoint(bench["path"] / "other", weight, kind=kind), FP32)
    with pytest.raises(ConfigError, match="another tokenizer than the policy"):
        run(bench, "out", reference=other)
    whole = run(bench, "whole")
    pipeline.mask(whole, bench["path"] / "masked", make_tokenizer(kind))
    assert open_output(bench["path"] / "masked").manifest.reference is None
    assert validate(bench["path"] / "masked") == []
