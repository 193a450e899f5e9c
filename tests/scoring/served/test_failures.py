"""Servers that fail, lie or vanish: a clear error, and nothing is lost."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_data import pipeline
from asr_data.config import OutputConfig
from asr_data.engines import EngineSettings, ServedModel
from asr_data.errors import ConfigError, EngineError
from asr_data.pipeline import measured
from asr_data.rows import detect, first_records, open_source
from asr_data.scoring.config import parse_config
from asr_data.scoring.load import load_scorer
from asr_data.scoring.reference import load_reference
from asr_data.storage import open_output
from asr_data.storage.manifest import load_manifest
from asr_data.types import RejectedRow, Row
from tests.scoring.served.conftest import FP32, LABELS, QUICK, engines
from tests.scoring.served.fake_server import Server, Status, bytes_of

Serve = Callable[..., Server]
Bend = Callable[[str, Any], Any]


@pytest.fixture
def pooled(prm: Path, serve: Serve) -> Server:
    return serve(prm)


@pytest.fixture
def scorer(prm: Path, pooled: Server, rows: list[Row]) -> Any:
    """Checked, so that what follows meets the faults."""
    return load_scorer(prm, scoring=FP32, engines=engines(pooled), first_rows=rows)


@pytest.mark.parametrize(
    "fault", [Status(429, "slow down"), Status(500, "oops"), Status(503), "drop"], ids=["429", "500", "503", "cut"]
)
def test_what_passes_is_tried_again(scorer: Any, pooled: Server, rows: list[Row], fault: Status | str) -> None:
    before = scorer.score(rows)
    pooled.faults.extend([fault, fault])
    after = scorer.score(rows)
    for one, other in zip(before, after, strict=True):
        for side, again in zip(one, other, strict=True):
            assert side.span_reward.tolist() == again.span_reward.tolist()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Status(500, "engine dead"), "no server is left: .*500: .*engine dead.*kept: run the same command again"),
        (Status(429, "slow down"), "429: .*slow down"),
        ("drop", "no server is left: the server at http.*kept"),
        (Status(400, "bad ids", {}), r"400: .*bad ids.*\(a sequence of \d+ tokens\).*kept"),
        (Status(401, "who are you", {}), "401: .*who are you.*; the key is read from ASR_ENGINE_KEY, which is not set"),
        (Status(302, "", {"Location": "http://127.0.0.1:1/x"}), r"redirect \(302\) to http://127.0.0.1:1/x"),
    ],
    ids=["500", "429", "cut", "400", "401", "redirect"],
)
def test_what_does_not_pass_ends_the_run(
    scorer: Any, pooled: Server, rows: list[Row], fault: Status | str, said: str
) -> None:
    pooled.always = fault
    with pytest.raises(EngineError, match=said):
        scorer.score(rows)


def test_a_server_that_does_not_answer(prm: Path, pooled: Server, rows: list[Row]) -> None:
    hasty = EngineSettings(concurrency=1, timeout=0.2, retries=0)
    found = load_scorer(prm, scoring=FP32, engines=engines(pooled, settings=hasty))
    pooled.always = "hang"
    with pytest.raises(EngineError, match="timed out"):
        found.score(rows)


def test_a_request_that_always_fails_is_named(scorer: Any, pooled: Server, rows: list[Row]) -> None:
    answer, longest = pooled.answer, max(len(body["input"]) for _, body in pooled.asked)

    def poisoned(path: str, body: dict[str, Any]) -> Any:
        return Status(500, "boom") if len(body["input"]) == longest else answer(path, body)

    pooled.answer = poisoned  # type: ignore[method-assign]
    with pytest.raises(EngineError, match=rf"500: .*boom.*a sequence of {longest} tokens|no server is left: .*boom"):
        scorer.score(rows * 3)


def shortened(_path: str, answer: Any) -> Any:
    answer["data"][0]["data"] = base64.b64encode(base64.b64decode(answer["data"][0]["data"])[8:]).decode()
    return answer


def cut_to_context(_path: str, answer: Any) -> Any:
    answer["usage"]["prompt_tokens"] -= 1
    return answer


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (shortened, r"/pooling: \d+ numbers \(token_classify outputs\) for a sequence of \d+ tokens, where \d+"),
        (cut_to_context, r"/pooling: the server read \d+ tokens of a sequence of \d+"),
        (lambda _path, _answer: b"<html>", "/pooling: the answer is not JSON"),
        (lambda _path, _answer: {"data": []}, "/pooling: the answer has no usage.prompt_tokens"),
        (lambda _path, answer: {**answer, "data": [{"data": [[1.0]]}]}, "outputs are not base64"),
    ],
    ids=["short", "truncated", "html", "empty", "floats"],
)
def test_answers_that_are_not_what_was_asked_for(
    scorer: Any, pooled: Server, rows: list[Row], bend: Bend, said: str
) -> None:
    pooled.bend = bend
    with pytest.raises(EngineError, match=said):
        scorer.score(rows)


def drop_last(_path: str, answer: Any) -> Any:
    if "choices" in answer:
        answer["choices"][0]["prompt_logprobs"].pop()
    else:
        answer["meta_info"]["input_token_logprobs"].pop()
    return answer


def rename(_path: str, answer: Any) -> Any:
    if "choices" in answer:
        answer["choices"][0]["prompt_logprobs"][1] = {"399": {"logprob": -1.0}}
    else:
        answer["meta_info"]["input_token_logprobs"][1] = [-1.0, 399, None]
    return answer


@pytest.mark.parametrize("program", ["vllm", "sglang"])
@pytest.mark.parametrize(
    ("bend", "said"), [(drop_last, r"logprobs of \d+ tokens for a sequence of"), (rename, "of token 399 where one of")]
)
def test_log_probabilities_of_other_tokens(
    language: Path, rows: list[Row], serve: Serve, program: str, bend: Bend, said: str
) -> None:
    server = serve(language, program)
    found = load_scorer(language, kind="logp", scoring=FP32, engines=engines(server))
    server.bend = bend
    with pytest.raises(EngineError, match=said):
        found.score(rows)


@pytest.mark.parametrize("program", ["vllm", "sglang", "llama.cpp"])
def test_labels_that_are_not_there(language: Path, rows: list[Row], serve: Serve, program: str) -> None:
    def without(_path: str, answer: Any) -> Any:
        text = json.dumps(answer)
        for label in ("token_id:41", ', 41, "', ", 41, null", '"id": 41'):
            text = text.replace(label, label.replace("41", "42"))
        return json.loads(text)

    server = serve(language, program)
    found = load_scorer(language, config=parse_config(LABELS), scoring=FP32, engines=engines(server))
    server.bend = without
    with pytest.raises(EngineError, match=r"the answer has no (token_id:)?41|no probability of label 41"):
        found.score(rows)


def nan(_path: str, answer: Any) -> Any:
    values = np.frombuffer(base64.b64decode(answer["data"][0]["data"]), "<f4").copy()
    values[len(values) // 2 :] = np.nan
    answer["data"][0]["data"] = bytes_of(values.tolist())
    return answer


def test_nan_stops_the_check_and_later_rejects_the_row(prm: Path, scorer: Any, pooled: Server, rows: list[Row]) -> None:
    pooled.bend = nan
    for scored, row in zip(scorer.score(rows), rows, strict=True):
        assert isinstance(scored, RejectedRow)
        assert (scored.index, scored.code) == (row.index, "non_finite_reward")
    with pytest.raises(EngineError, match="that are not finite"):
        load_scorer(prm, scoring=FP32, engines=engines(pooled), first_rows=rows)


def test_nan_is_not_taken_for_unknown(prm: Path, pooled: Server, rows: list[Row]) -> None:
    """A scorer of one side may leave the other unknown, which NaN stands for; a model's NaN is something else."""
    found = load_scorer(prm, scoring=FP32, engines=engines(pooled), sides="chosen", first_rows=rows)
    pooled.bend = nan
    assert all(isinstance(one, RejectedRow) for one in found.score(rows))


def test_null_is_nan(language: Path, rows: list[Row], serve: Serve) -> None:
    def null(_path: str, answer: Any) -> Any:
        entry = answer["choices"][0]["prompt_logprobs"][-1]
        entry[next(iter(entry))]["logprob"] = None
        return answer

    server = serve(language)
    found = load_scorer(language, kind="logp", scoring=FP32, engines=engines(server), first_rows=rows)
    server.bend = null
    assert all(isinstance(one, RejectedRow) for one in found.score(rows))


def test_servers_share_the_work_and_one_may_die(
    prm: Path, rows: list[Row], serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = serve(prm), serve(prm)
    found = load_scorer(prm, scoring=FP32, engines=engines(first, second), first_rows=rows)
    expected = found.score(rows * 10)
    assert len(first.asked) > 10 < len(second.asked)
    second.always = Status(503, "dying")
    with caplog.at_level(logging.WARNING):
        again = found.score(rows * 10)
    assert "the other servers go on" in caplog.text
    assert [[s.span_reward.tolist() for s in one] for one in again] == [
        [s.span_reward.tolist() for s in one] for one in expected
    ]
    first.always = Status(503, "dead")
    with pytest.raises(EngineError, match=r"no server is left: .*(dead|dying)"):
        found.score(rows)


def test_servers_that_differ(prm: Path, serve: Serve) -> None:
    first, second = serve(prm), serve(prm)
    second.version = "0.31.0"
    with pytest.raises(EngineError, match=r"differ in version: http.* has 0\.32\.0 and http.* 0\.31\.0"):
        load_scorer(prm, engines=engines(first, second))


def test_no_server_there(prm: Path, serve: Serve) -> None:
    nobody = {"model": ServedModel(urls=("http://127.0.0.1:9",), settings=EngineSettings(retries=0))}
    with pytest.raises(EngineError, match="is it running, and is this its address"):
        load_scorer(prm, engines=nobody)
    with pytest.raises(EngineError, match="owned by 'someone'; those of vllm, sglang, llamacpp can be asked"):
        load_scorer(prm, engines=engines(serve(prm, "someone")))


def test_the_key_is_sent_and_never_shown(
    prm: Path, pooled: Server, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_ENGINE_KEY", "sk-DummyKeyForTestsOnly")
    found = load_scorer(prm, scoring=FP32, engines=engines(pooled), first_rows=rows)
    assert pooled.keys == {"Bearer sk-DummyKeyForTestsOnly"}
    pooled.always = Status(500, "your key sk-DummyKeyForTestsOnly is bad")
    with pytest.raises(EngineError, match=r"your key \*\*\* is bad") as raised:
        found.score(rows)
    assert "sk-Dummy" not in str(raised.value)
    monkeypatch.setenv("ASR_ENGINE_KEY", "bad\nkey")
    with pytest.raises(ConfigError, match="ASR_ENGINE_KEY: the key contains characters"):
        load_scorer(prm, engines=engines(pooled))


def test_a_run_is_resumed_where_the_server_died(
    tmp_path: Path, prm: Path, language: Path, pooled: Server, serve: Serve
) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"Question {i}?", "chosen": f"It is {i}.", "rejected": "No."} for i in range(12)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    source = open_source(path)
    layout = detect(source.schema, first_records(source))
    logprobs = serve(language)

    def run(output: Path, *, server: Server) -> Any:
        scorer = load_scorer(prm, scoring=FP32, engines=engines(server))
        reference = load_reference(language, FP32, engine=engines(logprobs)["model"])
        return pipeline.run(
            source,
            layout,
            output,
            scorer,
            reference.tokenizer,
            reference=reference,
            scoring=FP32,
            writing=OutputConfig(shard_rows=4),
        )

    run(tmp_path / "whole", server=pooled)
    count = len(pooled.asked)
    pooled.faults.extend([None] * (count // 2))
    pooled.always = Status(503, "gone", {"retry-after-ms": "1"})
    with pytest.raises(EngineError, match=r"503: .*gone.*run the same command again"):
        run(tmp_path / "resumed", server=pooled)
    run(tmp_path / "resumed", server=serve(prm))  # another address, the same model

    whole, resumed = (open_output(tmp_path / name) for name in ("whole", "resumed"))
    assert whole.manifest == resumed.manifest  # and so every file's SHA-256
    statistics = whole.manifest.statistics
    assert statistics["engine_compared_with_files"] == statistics["logprobs_engine_compared_with_files"] == 1
    assert statistics["engine_largest_difference"] < 1e-4
    assert "127.0.0.1" not in (tmp_path / "whole" / "asr.json").read_text(encoding="utf-8")
    assert measured.measured_before(statistics).keys() == {name for name in statistics if "engine_" in name}

    own = pipeline.run(
        source, layout, tmp_path / "own", load_scorer(prm, scoring=FP32), whole_tokenizer(prm), scoring=FP32
    )
    assert own.annotated == 12
    masked = pipeline.mask(tmp_path / "whole", tmp_path / "masked")
    assert load_manifest(masked.path).statistics["engine_compared_with_files"] == 1


def whole_tokenizer(directory: Path) -> Any:
    from asr_data.text.tokenizer import load_tokenizer

    return load_tokenizer(str(directory))


def test_a_reference_behind_a_server(language: Path, rows: list[Row], serve: Serve) -> None:
    from asr_data.text.align import align

    own = load_reference(language, FP32)
    found = load_reference(language, FP32, engine=engines(serve(language))["model"])
    aligned = [align(row, own.tokenizer) for row in rows]
    for a, b in zip(own.log_probabilities(aligned), found.log_probabilities(aligned), strict=True):
        assert a is not None
        assert b is not None
        for side, again in zip(a, b, strict=True):
            assert side == pytest.approx(again, abs=2e-5)
    assert found.dtype == "as served by vllm 0.32.0"
    assert QUICK.bound == 0.1
