"""From rows to the files of the contract, with a scorer whose rewards are known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import asr_data_schemas
from asr_data.config import MaskConfig, Schmitt
from asr_data.errors import ConfigError, CorruptFileError, ScorerError, StorageError
from asr_data.pipeline.scoring import ahead
from asr_data.scoring.protocol import ScorerInfo
from asr_data.storage import validate

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "pivot, sequence baseline": {"segmenter": {"kind": "pivot"}, "baseline": {"kind": "sequence"}},
    "schmitt, running": {"segmenter": {"kind": "schmitt"}, "baseline": {"kind": "running", "decay": 0.5}},
    "optimal with boundaries": {
        "segmenter": {"kind": "optimal", "penalty": "paper", "boundary": {"inside_word": 9, "sentence": 0.5}},
        "baseline": {"kind": "dataset", "statistic": 0.3},
        "end_token": "segment",
    },
    "steps, drop": {"segmenter": {"kind": "step"}, "on_empty": "drop", "baseline": {"kind": "fixed", "value": 0.4}},
    "delta, keep-best": {
        "segmenter": {"kind": "token"},
        "reward": "delta",
        "baseline": {"kind": "fixed", "value": 9},
        "on_empty": "keep-best",
    },
    "sequence, mask end": {"segmenter": {"kind": "sequence"}, "end_token": "mask", "sequence_reward": "last"},
    "noise per response": {"noise": "response", "segment_reward": "last", "sequence_reward": "scorer"},
    "dataset mean": {"baseline": {"kind": "dataset", "statistic": "mean"}, "sequence_reward": "sum"},
}


def config(name: str) -> MaskConfig:
    return MaskConfig.model_validate(SETTINGS[name])


@pytest.mark.parametrize("shard_rows", [1, 3, 1_000])
def test_each_input_row_is_annotated_or_rejected_once_and_in_order(bench: Any, pairs: Any, shard_rows: int) -> None:
    summary = bench.run(pairs, shard_rows=shard_rows)
    assert (summary.rows, summary.annotated, summary.rejected) == (9, 7, 2)
    assert bench.table("out")["asr_row"].to_pylist() == [0, 1, 2, 4, 5, 6, 8]
    assert bench.table("out", "scores")["asr_row"].to_pylist() == [0, 1, 2, 4, 5, 6, 8]
    assert bench.rejects("out") == {3: "identical_sides", 7: "empty_response"}
    assert len(list((bench.folder / "out/data").iterdir())) == math.ceil(9 / shard_rows)
    assert validate(bench.folder / "out") == []


def test_shards_change_nothing_but_the_files(bench: Any, pairs: Any) -> None:
    for shard_rows in (1, 2, 1_000):
        for name in ("default", "schmitt, running", "dataset mean", "steps, drop"):
            bench.run(pairs, f"{name}{shard_rows}", shard_rows, mask=config(name))
    for name in ("default", "schmitt, running", "dataset mean", "steps, drop"):
        tables = [bench.table(f"{name}{shards}").drop_columns(["asr_run"]) for shards in (1, 2, 1_000)]
        assert tables[0].equals(tables[1])
        assert tables[0].equals(tables[2])


def test_load_dataset_opens_every_config_with_the_exact_features(bench: Any, pairs: Any) -> None:
    bench.run(pairs, shard_rows=4)
    schemas = {
        None: pa.schema([*bench.open(pairs)[0].schema, *asr_data_schemas.data_schema(("chosen", "rejected"))]),
        "scores": asr_data_schemas.scores_schema(("chosen", "rejected")),
        "rejects": asr_data_schemas.REJECTS_SCHEMA,
    }
    for name, schema in schemas.items():
        loaded = datasets.load_dataset(
            str(bench.folder / "out"), name, split="train", cache_dir=str(bench.folder / "cache")
        )
        assert loaded.features == datasets.Features.from_arrow_schema(schema)
        assert loaded.num_rows == (2 if name == "rejects" else 7)


def test_input_columns_are_unchanged(bench: Any, tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": pa.array(["What?", "Why?", "Who?"], type=pa.large_string()),
            "chosen": pa.array(["Because it is.", "So it goes.", "Nobody"]),
            "rejected": pa.array(["Dunno", "No", "Nobody"]),
            "score": pa.array([1, None, 3], type=pa.uint8()),
            "when": pa.array([1, 2, 3], type=pa.timestamp("us", tz="UTC")),
            "raw": pa.array([b"\xff", None, b""], type=pa.binary()),
            "nested": pa.array([{"a": [1, None]}, None, {"a": None}], type=pa.struct([("a", pa.list_(pa.int16()))])),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    bench.run(tmp_path / "in.parquet")
    out = bench.table("out").select(table.column_names)
    assert out.schema.types == table.schema.types
    assert out.to_pylist() == table.slice(0, 2).to_pylist()


@pytest.mark.parametrize("name", SETTINGS)
def test_run_equals_score_and_mask_byte_for_byte(bench: Any, pairs: Any, name: str) -> None:
    bench.run(pairs, "direct", 4, mask=config(name))
    bench.score(pairs, "scored", 4)
    bench.mask("scored", "masked", config(name))
    assert validate(bench.folder / "scored") == []
    assert validate(bench.folder / "masked") == []
    assert bench.files("masked") == bench.files("direct")


def test_a_finished_run_masked_anew_equals_a_run_at_these_settings(bench: Any, pairs: Any) -> None:
    bench.run(pairs, "default", 4)
    for name in SETTINGS:
        bench.run(pairs, f"run {name}", 4, mask=config(name))
        bench.mask("default", f"mask {name}", config(name))
        assert bench.files(f"run {name}") == bench.files(f"mask {name}"), name


def test_dropped_rows_are_rejects_and_stay_so(bench: Any, pairs: Any) -> None:
    summary = bench.run(pairs, "dropped", 2, mask=config("steps, drop"))
    dropped = [row for row, code in bench.rejects("dropped").items() if code == "empty_mask"]
    assert dropped
    assert summary.rejects == {"empty_mask": len(dropped), "empty_response": 1, "identical_sides": 1}
    assert bench.table("dropped", "scores")["asr_row"].equals(bench.table("dropped")["asr_row"])
    assert validate(bench.folder / "dropped") == []
    bench.mask("dropped", "again", MaskConfig())
    assert bench.rejects("again") == bench.rejects("dropped")
    assert validate(bench.folder / "again") == []


# --- by hand ---------------------------------------------------------------------------------------------

MULTI_TURN = {
    "prompt": [{"role": "user", "content": "What is it?"}],
    "chosen": [
        {"role": "assistant", "content": "It is one thing, I say."},
        {"role": "user", "content": "Is it really that one?"},
        {"role": "assistant", "content": "Yes. The answer is that one 🙂 here."},
    ],
    "rejected": [{"role": "assistant", "content": "It is not the answer. What is it?"}],
}
BY_HAND = [
    MULTI_TURN,
    {
        "prompt": [{"role": "user", "content": "Which emoji?"}],
        "chosen": [{"role": "assistant", "content": "👩‍🔬 and 日本 are it; the answer is é."}],
        "rejected": [{"role": "assistant", "content": "🙂🙂 it is"}],
    },
    {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And that?"}],
        "chosen": [{"role": "assistant", "content": "That is the one here. It is what it is, user."}],
        "rejected": [{"role": "assistant", "content": "No answer. What? Here it is the answer."}],
    },
]
HEADER, USER, WRITTEN, END = "header", "user", "written", "end"


def chatml(messages: list[dict[str, str]]) -> list[tuple[bytes, str]]:
    """The rendered conversation byte by byte, each byte with its author."""
    marked: list[tuple[bytes, str]] = []

    def put(text: str, author: str) -> None:
        marked.extend((bytes([byte]), author) for byte in text.encode())

    for number, message in enumerate(messages):
        assistant = message["role"] == "assistant"
        put(f"<|im_start|>{message['role']}\n", HEADER)
        put(message["content"], WRITTEN if assistant else USER)
        put("<|im_end|>", END if assistant else HEADER)
        put("\n", END if assistant and number == len(messages) - 1 else HEADER)
    return marked


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """GPT-2's table of printable stand-ins, read backwards."""
    text = tokenizer.hf.convert_ids_to_tokens(token)
    if text.startswith("<|"):
        return text.encode()
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}
    return bytes(table[character] for character in text)


def response_by_hand(bench: Any, row: Any, side: str) -> dict[str, list[Any]]:
    """Token ids, authors and rewards of one response."""
    marked = chatml(row["prompt"] + row[side])
    hf = bench.tokenizer.hf
    prompt = b"".join(b for b, _ in chatml(row["prompt"])).decode() + "<|im_start|>assistant\n"
    prompt_ids = hf(prompt, add_special_tokens=False)["input_ids"]
    ids = hf(b"".join(b for b, _ in marked).decode(), add_special_tokens=False)["input_ids"]
    assert ids[: len(prompt_ids)] == prompt_ids
    (spans,) = bench.scorer._answer(SimpleNamespace(completions=[SimpleNamespace(content=row[side])]))
    per_byte: list[float] = []
    for (begin, end), reward in zip(pairwise([0, *spans.span_end.tolist()]), spans.span_reward.tolist(), strict=True):
        per_byte += [reward] * (end - begin)
    place, taken, authors, rewards = 0, 0, [], []
    for number, token in enumerate(ids):
        size = len(token_bytes(bench.tokenizer, token))
        those = [author for _, author in marked[place : place + size]]
        place += size
        if number < len(prompt_ids):
            continue
        own = those.count(WRITTEN)
        rewards.append(sum(per_byte[taken : taken + own]) / own if own else rewards[-1])
        taken += own
        authors.append(WRITTEN if own else those[0])
    assert (place, taken) == (len(marked), len(per_byte))
    rounded = torch.tensor(rewards, dtype=torch.float32).bfloat16().tolist()
    return {"prompt": prompt_ids, "ids": ids[len(prompt_ids) :], "authors": authors, "rewards": rounded}


def schmitt_by_hand(rewards: list[float], baseline: float, delta: float) -> list[int]:
    states = [1 if r > baseline + delta else -1 if r < baseline - delta else 0 for r in rewards]
    decided = [state for state in states if state]
    current, filled = decided[0] if decided else 0, []
    for state in states:
        current = state or current
        filled.append(current)
    return [t for t in range(len(filled)) if t == 0 or filled[t] != filled[t - 1]]


def test_masks_by_hand(bench: Any) -> None:
    bench.run(BY_HAND, shard_rows=2, mask=MaskConfig(segmenter=Schmitt()))
    out = bench.table("out").to_pylist()
    sides = ("chosen", "rejected")
    responses = [{side: response_by_hand(bench, row, side) for side in sides} for row in BY_HAND]
    differences = [b - a for row in responses for side in sides for a, b in pairwise(row[side]["rewards"])]
    middle = statistics.median(differences)
    delta = 1.4826 * statistics.median(abs(d - middle) for d in differences) / math.sqrt(2)
    refilled = 0
    for row, got in zip(responses, out, strict=True):
        means = {side: statistics.fmean(row[side]["rewards"]) for side in sides}
        baseline = (means["chosen"] + means["rejected"]) / 2
        for side in sides:
            rewards, authors = row[side]["rewards"], row[side]["authors"]
            starts = schmitt_by_hand(rewards, baseline, delta)
            spans = list(pairwise([*starts, len(rewards)]))
            segment_rewards = [statistics.fmean(rewards[a:b]) for a, b in spans]
            keep = [(r > baseline) == (side == "chosen") for r in segment_rewards]
            if not any(k and WRITTEN in authors[a:b] for k, (a, b) in zip(keep, spans, strict=True)):
                keep = [True] * len(keep)
                refilled += 1
            kept = [k for k, (a, b) in zip(keep, spans, strict=True) for _ in range(a, b)]
            mask = [a == END or (a == WRITTEN and k) for a, k in zip(authors, kept, strict=True)]
            assert got["prompt_ids"] == row[side]["prompt"]
            assert got[f"{side}_ids"] == row[side]["ids"]
            assert got[f"{side}_token_reward"] == rewards
            assert got[f"{side}_seg_start"] == starts
            assert got[f"{side}_seg_reward"] == pytest.approx(segment_rewards, rel=1e-6)
            assert got[f"{side}_seg_keep"] == keep
            assert got[f"{side}_mask"] == mask
            assert got[f"{side}_reward"] == pytest.approx(means[side], rel=1e-6)
    masks = [value for row in out for side in sides for value in row[f"{side}_mask"]]
    assert not all(masks)
    assert refilled < 3


def test_turns_of_others_inside_a_completion_are_never_trained_on(bench: Any) -> None:
    bench.run([MULTI_TURN], mask=MaskConfig.model_validate({"baseline": {"kind": "fixed", "value": -1e6}}))
    (row,) = bench.table("out").to_pylist()
    trained = [i for i, kept in zip(row["chosen_ids"], row["chosen_mask"], strict=True) if kept]
    expected = "It is one thing, I say.<|im_end|>Yes. The answer is that one 🙂 here.<|im_end|>\n"
    assert bench.tokenizer.hf.decode(trained) == expected


def test_segment_starts_are_code_points_of_the_response(bench: Any, pairs: Any) -> None:
    bench.run(pairs, mask=MaskConfig.model_validate({"segmenter": {"kind": "step"}}))
    rows = {row["asr_row"]: row for row in bench.table("out").to_pylist()}
    # 18 characters of 3 bytes: the scorer's second step starts at byte 27.
    assert rows[1]["rejected"][0]["content"] == "日本語の答えは四十二です。違います。"
    assert rows[1]["rejected_seg_text_start"] == [0, 9]
    # Too short for steps of the scorer's own: its one sentence is the step.
    assert rows[2]["chosen_seg_text_start"] == [0]


# --- layouts and edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("good", "bad"), [(True, False), (1, 0), ("true", "False"), ("1", "0")])
def test_a_label_says_which_side_of_the_baseline_is_kept(bench: Any, good: Any, bad: Any) -> None:
    text = "The answer is that one. It is here, and what is it?"
    rows = [{"prompt": "What?", "completion": text, "label": label} for label in (good, bad)]
    settings = {"segmenter": {"kind": "token"}, "baseline": {"kind": "sequence"}, "end_token": "segment"}
    summary = bench.run(rows, mask=MaskConfig.model_validate(settings))
    first, second = bench.table("out").to_pylist()
    assert summary.annotated == 2
    assert list(summary.sides) == ["completion"]
    assert first["completion_mask"] == [not kept for kept in second["completion_mask"]]
    for reward, kept in zip(first["completion_token_reward"], first["completion_mask"], strict=True):
        assert kept == (reward > first["completion_reward"])
    assert validate(bench.folder / "out") == []


def test_prompt_and_completion_without_a_label_is_preferred(bench: Any) -> None:
    bench.run([{"prompt": "What?", "completion": "The answer is here."}])
    bench.run([{"prompt": "What?", "completion": "The answer is here.", "label": True}], "labelled")
    assert bench.table("out")["completion_mask"].equals(bench.table("labelled")["completion_mask"])
    assert validate(bench.folder / "out") == []


def test_a_string_completion_ends_with_the_end_of_sequence_token(bench: Any) -> None:
    rows = [{"prompt": prompt, "chosen": "It is here", "rejected": "One"} for prompt in ("What?\n", "What? ")]
    summary = bench.run(rows)
    plain, merged = bench.table("out").to_pylist()
    assert bench.tokenizer.hf.decode(plain["chosen_ids"]) == "It is here<|im_end|>"
    assert plain["chosen_mask"][-1] is True
    # Here the prompt's last space is part of the token " It".
    assert bench.tokenizer.hf.decode(merged["prompt_ids"]) == "What?"
    assert bench.tokenizer.hf.decode(merged["chosen_ids"]) == " It is here<|im_end|>"
    assert summary.notes["prompt_merged"] == 1
    assert "prompt_merged" in merged["asr_notes"]


def test_every_row_rejected_still_finishes(bench: Any, pairs: Any) -> None:
    rows = [pairs[3], pairs[7]]
    summary = bench.run(rows, "run", shard_rows=1)
    assert (summary.annotated, summary.rejected) == (0, 2)
    assert validate(bench.folder / "run") == []
    bench.score(rows, "score", shard_rows=1)
    bench.mask("score", "mask", MaskConfig())
    assert bench.files("mask") == bench.files("run")
    assert datasets.get_dataset_config_names(str(bench.folder / "run")) == ["rejects"]


def test_a_shard_without_an_annotated_row(bench: Any, pairs: Any) -> None:
    rows = [pairs[0], pairs[1], pairs[3], pairs[7], pairs[4]]
    running = MaskConfig.model_validate({"baseline": {"kind": "running"}})
    bench.run(rows, shard_rows=2, mask=running)
    assert bench.table("out")["asr_row"].to_pylist() == [0, 1, 4]
    assert validate(bench.folder / "out") == []
    bench.run(rows, "whole", mask=running)
    assert bench.table("out").drop_columns(["asr_run"]).equals(bench.table("whole").drop_columns(["asr_run"]))


def test_a_colliding_column_is_an_error_that_names_prefix(bench: Any, pairs: Any) -> None:
    rows = [{**row, "chosen_mask": 1} for row in pairs]
    for command in (bench.run, bench.score):
        with pytest.raises(ConfigError, match=r"chosen_mask.*--prefix"):
            command(rows)
    bench.run(rows, "prefixed", prefix="seg_", shard_rows=4)
    assert validate(bench.folder / "prefixed") == []
    table = bench.table("prefixed")
    assert table["chosen_mask"].to_pylist() == [1] * 7
    assert table.column_names[-3:] == ["seg_asr_notes", "seg_asr_row", "seg_asr_run"]
    bench.mask("prefixed", "again", MaskConfig())
    assert bench.files("again") == bench.files("prefixed")


def test_delta_of_increments_is_refused_before_anything_is_written(bench: Any, pairs: Any) -> None:
    bench.scorer.info = ScorerInfo("fake", "rule", "increment", "f" * 64)
    with pytest.raises(ConfigError, match="increments already"):
        bench.run(pairs, mask=MaskConfig(reward="delta"))
    assert not (bench.folder / "out").exists()


def test_an_input_inside_the_output_is_refused_and_stays(bench: Any, pairs: Any) -> None:
    bench.run(pairs)
    before = bench.files("out")
    for command in (bench.run, bench.score):
        for flags in ({}, {"overwrite": True}):
            with pytest.raises(StorageError, match="the input is inside the output directory"):
                command(bench.folder / "out/data/train-00000.parquet", "out", **flags)
    assert bench.files("out") == before


def test_mask_refuses_its_own_input_and_a_damaged_one(bench: Any, pairs: Any) -> None:
    bench.score(pairs)
    with pytest.raises(StorageError, match="is the input; name another directory"):
        bench.mask("scored", "scored", MaskConfig())
    path = bench.folder / "scored/scores/train-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="train-00000"):
        bench.mask("scored", "out", MaskConfig())


def test_a_scorer_that_answers_for_other_rows_is_an_error(bench: Any, pairs: Any) -> None:
    bench.scorer.score = lambda rows, on_tokens=None: []
    with pytest.raises(ScorerError, match="0 answers for 7 rows"):
        bench.run(pairs)


def test_shards_are_made_ahead_and_in_order() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number

    seen = []
    for number in ahead(items()):
        seen.append(number)
    assert seen == made == [0, 1, 2, 3]


def test_what_goes_wrong_ahead_is_raised_where_it_is_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_a_row_of_very_much_text_is_rejected(bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = max(len((row["prompt"][0]["content"] + row["chosen"][0]["content"]).encode()) for row in pairs)
    monkeypatch.setattr("asr_data.pipeline.scoring.MAX_TEXT_BYTES", 10 * size)
    rows = [pairs[0], {**pairs[1], "chosen": [{"role": "assistant", "content": "日" * (4 * size)}]}, pairs[2]]
    summary = bench.run(rows)
    assert (summary.annotated, summary.rejects) == (2, {"too_long": 1})
    assert bench.scorer.scored == [0, 2]
