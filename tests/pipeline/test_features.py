"""A token head with features, from rows to files: interruptions, pairs and single responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from asr_data.config import MaskConfig, ScoringConfig, Token
from asr_data.pipeline import first_rows
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.load import load_scorer
from asr_data.storage import open_output, validate
from asr_data.storage.commit import observe
from tests.pipeline.killing import Killed, killed_at

FP32 = ScoringConfig(dtype="float32", device="cpu")
TOKENS = MaskConfig(segmenter=Token())
FEATURES = FeatureConfig(
    layer=1,
    scalars=("logp", "entropy"),
    partner=({"role": "user", "content": "{{ prompt }} {{ other }}"},),  # type: ignore[arg-type] # parsed
    words=True,
    averages=(0.8,),
    ratio=0.2,
)


def asked(number: int, bad: str, good: str | None = None) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"{number} + 2?"}],
        "chosen": [{"role": "assistant", "content": good or f"It is {number + 2}."}],
        "rejected": [{"role": "assistant", "content": bad}],
    }


ROWS = [
    asked(1, "It is five. So be it."),
    asked(2, "Six."),
    asked(3, "x y " * 45, "y x " * 45),  # of the model's context of 256 tokens, each takes more than half
    asked(4, "Nine."),
    asked(5, "No."),
]


@pytest.fixture
def model(tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]) -> Path:
    generator = torch.Generator().manual_seed(1)
    directory = make_checkpoint(
        tmp_path / "lm", {"lm_head.weight": torch.randn(len(make_tokenizer().hf), 32, generator=generator)}
    )
    scalars = len(FEATURES.own_columns()) + len(FEATURES.partner_columns())
    head = {
        "score.weight": torch.randn(1, 32 + len(FEATURES.columns()), generator=generator),
        "score.bias": torch.zeros(1),
        "score.mean": torch.zeros(scalars),
        "score.std": torch.ones(scalars),
    }
    save_file(head, directory / "head.safetensors")
    settings = {"head": {"file": "head.safetensors"}, "features": FEATURES.model_dump(mode="json")}
    (directory / "asr_scorer.json").write_text(json.dumps(settings))
    return directory


@pytest.fixture
def featured(bench: Any, model: Path) -> Any:
    bench.scorer = load_scorer(model, scoring=FP32)
    bench.tokenizer = bench.scorer.tokenizer
    return bench


def test_the_same_after_any_interruption(featured: Any) -> None:
    path = featured.write(ROWS)
    whole = featured.run(path, "whole", 2, mask=TOKENS)
    assert (whole.rows, whole.annotated) == (5, 4)
    assert featured.rejects("whole") == {2: "too_long"}  # it fits by itself, and not twice
    assert validate(featured.folder / "whole") == []
    for count in (5, 20):
        with pytest.raises(Killed), observe(killed_at(count)):
            featured.run(path, f"killed{count}", 2, mask=TOKENS)
        featured.run(path, f"killed{count}", 2, mask=TOKENS, resume=True)
        assert featured.files(f"killed{count}") == featured.files("whole")


@pytest.mark.parametrize("paired", [True, False])
def test_pairs_and_single_responses(featured: Any, model: Path, paired: bool) -> None:
    single = [{"prompt": r["prompt"], "completion": r["rejected"], "label": n % 2 == 0} for n, r in enumerate(ROWS)]
    path = featured.write(ROWS if paired else single)
    source = open_source(path)
    rows = first_rows(source, detect(source.schema, first_records(source)))
    featured.scorer = load_scorer(model, scoring=FP32, first_rows=rows)
    featured.run(path, mask=TOKENS)
    scorer = open_output(featured.folder / "out").manifest.scorer
    seen = "in view, where the row has one"
    wanted = {"chosen": seen, "rejected": seen} if paired else {"completion": "none"}
    assert scorer.settings["partner"] == wanted
    assert not scorer.partial
    assert featured.rejects("out") == ({2: "too_long"} if paired else {})
