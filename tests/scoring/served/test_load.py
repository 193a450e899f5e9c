"""Served scorers give the rewards of our own engine, whatever the kind and whichever program serves."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_data.engines import EngineSettings
from asr_data.errors import ConfigError, EngineError, ScorerError
from asr_data.scoring.config import parse_config
from asr_data.scoring.load import load_scorer
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.types import RejectedRow, Row
from tests.scoring.served.conftest import FP32, LABELS, PRM, QUICK, STEPS, engines, random
from tests.scoring.served.fake_server import Server, bytes_of

Serve = Callable[..., Server]


def rewards(scorer: Any, rows: Sequence[Row]) -> np.ndarray[Any, Any]:
    scored = scorer.score(rows)
    assert not any(isinstance(one, RejectedRow) for one in scored), scored
    return np.concatenate([side.span_reward for one in scored for side in one])


def check_equal(directory: Path, rows: Sequence[Row], served: dict[Any, Any], **options: Any) -> ModelScorer:
    own = load_scorer(directory, scoring=FP32, **options)
    found = load_scorer(directory, scoring=FP32, engines=served, first_rows=rows, **options)
    assert rewards(found, rows) == pytest.approx(rewards(own, rows), abs=2e-5, nan_ok=True)  # unknown to both
    assert isinstance(found, ModelScorer)
    return found


def paths(server: Server) -> set[str]:
    return {path for path, _ in server.asked}


def test_process_rewards_come_from_the_raw_outputs_of_every_token(prm: Path, rows: list[Row], serve: Serve) -> None:
    server = serve(prm)
    scorer = check_equal(prm, rows, engines(server))
    assert paths(server) == {"/pooling"}
    assert all(isinstance(i, int) for _, body in server.asked for i in body["input"])  # ids, never text
    engine = {"server": "vllm 0.32.0", "model": "prm", "asked": "token_classify", "max_length": 256}
    assert scorer.info.settings["engine"] == engine
    assert scorer.measured["engine_compared_with_files"] == 1
    assert 0 <= scorer.measured["engine_relative_difference"] < 1e-4


def test_by_step(prm: Path, rows: list[Row], serve: Serve) -> None:
    steps = parse_config({**PRM, "steps": STEPS})
    check_equal(prm, rows, engines(serve(prm)), config=steps)
    server = serve(prm)
    server.tasks = ["classify"]  # the last token's alone: each step is asked by itself
    assert check_equal(prm, rows, engines(server), config=steps).info.settings["engine"]["asked"] == "classify"


def test_a_head_that_the_server_does_not_know_reads_hidden_states_here(
    tmp_path: Path, rows: list[Row], serve: Serve, make_checkpoint: Callable[..., Path]
) -> None:
    head = {"v_head.summary.weight": random(1, 32), "v_head.summary.bias": random(1, seed=2)}
    settings = {"head": {"kind": "v_head", "prefix": "v_head.", "labels": 1}, "transform": "sigmoid"}
    directory = make_checkpoint(tmp_path / "skywork", head, settings)
    server = serve(directory)
    server.tasks = ["token_embed"]
    assert check_equal(directory, rows, engines(server)).info.settings["engine"]["asked"] == "token_embed"
    for program, asked in (("sglang", "hidden_states"), ("llama.cpp", "embeddings")):
        scorer = check_equal(directory, rows, engines(serve(directory, program)))
        assert scorer.info.settings["engine"]["asked"] == asked


def test_sequence_rewards_of_every_prefix(
    tmp_path: Path, rows: list[Row], serve: Serve, make_checkpoint: Callable[..., Path]
) -> None:
    settings = {"kind": "seq_head", "head": {"kind": "linear", "prefix": "score.", "labels": 1}, "mean": 0.5, "std": 2}
    directory = make_checkpoint(tmp_path / "rm", {"score.weight": random(1, 32)}, settings)
    server = serve(directory)
    server.tasks = ["classify", "token_classify"]
    assert check_equal(directory, rows, engines(server)).info.settings["engine"]["asked"] == "classify"
    assert check_equal(directory, rows, engines(serve(directory))).info.settings["engine"]["asked"] == "token_classify"
    sglang = serve(directory, "sglang")
    check_equal(directory, rows, engines(sglang))
    assert paths(sglang) == {"/classify"}
    check_equal(directory, rows, engines(serve(directory, "llama.cpp")))


@pytest.mark.parametrize("vocabulary", ["pair", "full"])
@pytest.mark.parametrize("program", ["vllm", "sglang", "llama.cpp"])
def test_label_tokens(language: Path, rows: list[Row], serve: Serve, program: str, vocabulary: str) -> None:
    config = parse_config({**LABELS, "vocabulary": vocabulary})
    served = engines(serve(language, program))
    if (program, vocabulary) == ("llama.cpp", "full"):
        with pytest.raises(ConfigError, match="over the whole vocabulary"):
            load_scorer(language, config=config, engines=served, scoring=FP32)
        return
    check_equal(language, rows, served, config=config)


@pytest.mark.parametrize("program", ["vllm", "sglang"])
def test_log_probabilities(language: Path, rows: list[Row], serve: Serve, program: str) -> None:
    server = serve(language, program)
    scorer = check_equal(language, rows, engines(server), kind="logp")
    assert scorer.info.settings["engine"]["max_length"] == 255  # the server generates a token
    check_equal(language, rows, engines(server), kind="answer_value")
    check_equal(language, rows, engines(server), preset="hindsight")
    with pytest.raises(ConfigError, match=r"llama\.cpp's server gives no log-probabilities"):
        load_scorer(language, kind="logp", engines=engines(serve(language, "llama.cpp")), scoring=FP32)


def test_a_reference_is_served_or_loaded_here(
    tmp_path: Path,
    language: Path,
    rows: list[Row],
    serve: Serve,
    make_checkpoint: Callable[..., Path],
    make_tokenizer: Callable[..., Any],
) -> None:
    base = make_checkpoint(tmp_path / "base", {"lm_head.weight": random(len(make_tokenizer().hf), 32, seed=5)})
    options = {"config": parse_config({"kind": "implicit"}), "reference": base}
    policy, reference = serve(language), serve(base)
    both = check_equal(language, rows, engines(policy, reference=reference), **options)
    assert paths(policy) == paths(reference) == {"/v1/completions"}
    assert both.info.settings["reference_engine"]["model"] == "base"
    asked = len(reference.asked)
    here = check_equal(language, rows, engines(policy), **options)
    assert len(reference.asked) == asked
    assert "reference_engine" not in here.info.settings
    with pytest.raises(ConfigError, match="this 'logp' scorer has no reference"):
        load_scorer(language, kind="logp", engines=engines(policy, reference=reference), scoring=FP32)


def test_without_weights_the_server_is_compared_with_itself(prm: Path, rows: list[Row], serve: Serve) -> None:
    server = serve(prm)
    expected = rewards(load_scorer(prm, scoring=FP32), rows)
    (prm / "model.safetensors").unlink()
    scorer = load_scorer(prm, scoring=FP32, engines=engines(server), first_rows=rows)
    assert isinstance(scorer, ModelScorer)
    assert scorer.measured["engine_compared_with_files"] == 0
    assert scorer.measured["engine_largest_difference"] == 0
    assert rewards(scorer, rows) == pytest.approx(expected, abs=2e-5)
    (prm / "asr_scorer.json").unlink()
    with pytest.raises(ScorerError, match="holds no weights, by which a model's family is recognised"):
        load_scorer(prm, scoring=FP32, engines=engines(server))


def test_without_first_rows_the_check_is_made_on_the_first_that_are_scored(
    prm: Path, rows: list[Row], serve: Serve
) -> None:
    scorer = load_scorer(prm, scoring=FP32, engines=engines(serve(prm)))
    assert isinstance(scorer, ModelScorer)
    assert scorer.measured == {}
    scorer.score(rows)
    assert scorer.measured["engine_compared_with_files"] == 1


def test_other_weights_than_the_name_says(prm: Path, rows: list[Row], serve: Serve) -> None:
    def other(states: torch.Tensor) -> torch.Tensor:
        return states @ random(2, 32, seed=9).T

    with pytest.raises(EngineError, match=r"differs from the model's files, run here by .* more than the bound of 10"):
        load_scorer(prm, scoring=FP32, engines=engines(serve(prm, head=other)), first_rows=rows)
    loose = EngineSettings(concurrency=4, bound=1e6)
    load_scorer(prm, scoring=FP32, engines=engines(serve(prm, head=other), settings=loose), first_rows=rows)


def test_a_server_that_depends_on_what_it_was_asked_before(prm: Path, rows: list[Row], serve: Serve) -> None:
    seen: set[str] = set()

    def caching(_path: str, answer: Any) -> Any:
        text = answer["data"][0]["data"]
        if text in seen:  # as after a hit of a broken prefix cache
            answer["data"][0]["data"] = bytes_of([0.0] * (len(base64.b64decode(text)) // 4))
        seen.add(text)
        return answer

    server = serve(prm)
    server.bend = caching
    alone = EngineSettings(concurrency=2, check="server")
    with pytest.raises(EngineError, match="differs from itself, asked one by one"):
        load_scorer(prm, scoring=FP32, engines=engines(server, settings=alone), first_rows=rows)


def test_another_tokenizer(prm: Path, rows: list[Row], serve: Serve, make_tokenizer: Callable[..., Any]) -> None:
    server = serve(prm)
    server.model.tokenizer = make_tokenizer("metaspace_bpe").hf
    with pytest.raises(EngineError, match="has another tokenizer than"):
        load_scorer(prm, scoring=FP32, engines=engines(server), first_rows=rows)


def test_a_server_of_another_model(prm: Path, serve: Serve) -> None:
    server = serve(prm)
    server.name, server.model.path = "Qwen/Other-7B", "/models/other"
    with pytest.raises(EngineError, match=r"has no model .*prm': it has 'Qwen/Other-7B'; if that is .* --engine-model"):
        load_scorer(prm, scoring=FP32, engines=engines(server))
    found = engines(server)
    named = {"model": found["model"].model_copy(update={"name": "Qwen/Other-7B"})}
    load_scorer(prm, scoring=FP32, engines=named)
    wrong = {"model": found["model"].model_copy(update={"name": "prm"})}
    with pytest.raises(EngineError, match=r"has no model 'prm': it has 'Qwen/Other-7B'$"):
        load_scorer(prm, scoring=FP32, engines=wrong)


def test_a_head_of_another_size(prm: Path, serve: Serve) -> None:
    def three(states: torch.Tensor) -> torch.Tensor:
        return states @ random(3, 32).T

    with pytest.raises(EngineError, match=r"numbers .token_classify outputs. for a sequence of .* 2 a token"):
        load_scorer(prm, scoring=FP32, engines=engines(serve(prm, head=three)))


def test_a_server_that_does_not_pool(prm: Path, serve: Serve) -> None:
    server = serve(prm)
    server.tasks = ["embed"]
    with pytest.raises(EngineError, match=r"start it with --runner pooling.*\n  token_classify: .*Unsupported task"):
        load_scorer(prm, scoring=FP32, engines=engines(server))


def test_a_context_shorter_than_ours(prm: Path, language: Path, rows: list[Row], serve: Serve) -> None:
    with pytest.raises(ConfigError, match=r"reads 100 tokens, and .* 256: give --max-length 100"):
        load_scorer(prm, scoring=FP32, engines=engines(serve(prm, context=100)))
    shorter = FP32.model_copy(update={"max_length": 40})
    scorer = load_scorer(prm, scoring=shorter, engines=engines(serve(prm, context=100)))
    long = Row(7, {}, "Question " * 30, rows[0].completions)
    rejected = scorer.score([*rows, long])[-1]
    assert isinstance(rejected, RejectedRow)
    assert (rejected.index, rejected.code) == (7, "too_long")
    with pytest.raises(
        ConfigError, match=r"reads 39 tokens \(1 more for what it generates\), .* 40: .*--max-length 39"
    ):
        load_scorer(language, kind="logp", scoring=shorter, engines=engines(serve(language, context=40)))


def test_kinds_that_no_server_can_be_asked(prm: Path, serve: Serve) -> None:
    served = engines(serve(prm))
    with pytest.raises(ConfigError, match="runs no model, so no server is asked"):
        load_scorer(kind="labels", engines=served)
    with pytest.raises(ConfigError, match="the model's own server is missing"):
        load_scorer(prm, engines={"reference": served["model"]})
    assert QUICK.check == "auto"


def test_features_are_not_served(prm: Path, serve: Serve) -> None:
    features = parse_config({**PRM, "features": {"layer": 1}})
    with pytest.raises(ConfigError, match="features of every token"):
        load_scorer(prm, config=features, engines=engines(serve(prm)))
