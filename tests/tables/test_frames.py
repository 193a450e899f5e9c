from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import asr_data
from asr_data.config import MaskConfig, SegmentWeights
from asr_data.errors import ConfigError, CorruptFileError, InputError
from asr_data.storage import AnnotatedDirectory
from asr_data.tables import frame
from tests.view.conftest import PAIRS, Annotate

TEXTS = [
    {"prompt": "q", "chosen": "Grün ist gut. Ja.", "rejected": "No. It is 🙂 not so.", "topic": "a", "margin": 7},
    {"prompt": "q", "chosen": "Yes. It is.", "rejected": "Never.", "topic": "b", "margin": 8},
    {"prompt": "q", "chosen": "", "rejected": "Never.", "topic": "b", "margin": 9},
]


def collected(lazy: pl.LazyFrame) -> list[dict[str, Any]]:
    return lazy.collect(engine="streaming").to_dicts()


def stored(annotated: AnnotatedDirectory) -> list[dict[str, Any]]:
    return [row for path in sorted((annotated.path / "data").iterdir()) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def texts(annotate: Annotate) -> AnnotatedDirectory:
    return annotate(TEXTS)


def test_a_frame_has_the_files_columns_and_rows(texts: AnnotatedDirectory) -> None:
    rows = stored(texts)
    assert collected(frame(str(texts.path)).select(*rows[0])) == rows


def test_a_name_that_the_input_uses_is_kept_for_it(texts: AnnotatedDirectory) -> None:
    found = collected(frame(texts.path).select("margin", "asr_margin", "chosen_reward", "rejected_reward"))
    assert [row["margin"] for row in found] == [7, 8]
    for row in found:
        assert row["asr_margin"] == pytest.approx(row["chosen_reward"] - row["rejected_reward"])


def test_summary_is_one_row_a_pair(annotate: Annotate) -> None:
    annotated = annotate(prefix="p_")
    frame_: Any = frame(annotated.path)
    found, rows = collected(frame_.asr.summary()), stored(annotated)
    assert [row["p_asr_row"] for row in found] == [0, 1, 2, 4]
    for got, row in zip(found, rows, strict=True):
        for side in ("chosen", "rejected"):
            mask = row[f"p_{side}_mask"]
            assert got[f"kept_{side}"] == pytest.approx(sum(mask) / len(mask))
            assert got[f"tokens_{side}"] == len(row[f"p_{side}_ids"])
            assert got[f"segments_{side}"] == len(row[f"p_{side}_seg_keep"])
        assert got["p_asr_notes"] == row["p_asr_notes"]


def check_segments(annotated: AnnotatedDirectory, texts: dict[int, dict[str, str]]) -> None:
    frame_: Any = frame(annotated.path)
    prefix = annotated.manifest.prefix
    for side in annotated.manifest.sides:
        expected = []
        for row in stored(annotated):
            name, text = f"{prefix}{side}", texts[row[f"{prefix}asr_row"]][side]
            starts, tokens = row[f"{name}_seg_text_start"], row[f"{name}_seg_start"]
            for at, start in enumerate(starts):
                end = [*starts[1:], len(text)][at]
                expected.append(
                    {
                        "asr_row": row[f"{prefix}asr_row"],
                        "side": side,
                        "position": at,
                        "first_token": tokens[at],
                        "tokens": [*tokens[1:], len(row[f"{name}_ids"])][at] - tokens[at],
                        "text": text[start:end],
                        "start": start,
                        "end": end,
                        "reward": row[f"{name}_seg_reward"][at],
                        "keep": row[f"{name}_seg_keep"][at],
                    }
                )
        assert collected(frame_.asr.segments(side)) == expected


def test_segments_of_texts(texts: AnnotatedDirectory) -> None:
    check_segments(texts, dict(enumerate(TEXTS)))  # type: ignore[arg-type]


def test_segments_of_messages(annotate: Annotate) -> None:
    written = {at: {side: row[side][0]["content"] for side in ("chosen", "rejected")} for at, row in enumerate(PAIRS)}
    check_segments(annotate(prefix="p_"), written)


def test_tokens_cover_the_text_and_say_what_the_lists_say(
    texts: AnnotatedDirectory, make_tokenizer: Any, annotate: Annotate
) -> None:
    frame_: Any = frame(texts.path, tokenizer=make_tokenizer())
    for side in ("chosen", "rejected"):
        found = collected(frame_.asr.tokens(side))
        for row in stored(texts):
            mine = [one for one in found if one["asr_row"] == row["asr_row"]]
            text = TEXTS[row["asr_row"]][side]
            assert "".join(one["text"] for one in mine if one["end"] > one["start"]).endswith(str(text)[-3:])
            assert all(one["text"] == str(text)[one["start"] : one["end"]] for one in mine)
            assert [one["token"] for one in mine] == row[f"{side}_ids"]
            assert [one["keep"] for one in mine] == row[f"{side}_mask"]
            assert [one["reward"] for one in mine] == row[f"{side}_token_reward"]
            assert [one["position"] for one in mine] == list(range(len(mine)))
            numbers = [one["segment"] for one in mine]
            assert [numbers.index(segment) for segment in dict.fromkeys(numbers)] == row[f"{side}_seg_start"]


def test_weights_of_tokens_are_shown_and_null_without(annotate: Annotate) -> None:
    weighted = annotate(TEXTS, mask=MaskConfig(weights=SegmentWeights()))
    without = annotate(TEXTS)
    for side in ("chosen", "rejected"):
        frame_: Any = frame(weighted.path)
        found = collected(frame_.asr.tokens(side).select("asr_row", "position", "weight", "keep"))
        expected = [
            {"asr_row": row["asr_row"], "position": at, "weight": weight, "keep": keep}
            for row in stored(weighted)
            for at, (weight, keep) in enumerate(zip(row[f"{side}_weight"], row[f"{side}_mask"], strict=True))
        ]
        assert found == expected
        assert len({one["weight"] for one in found}) > 2  # not 0 and 1 alone
        bare: Any = frame(without.path)
        assert bare.asr.tokens(side).collect_schema() == frame_.asr.tokens(side).collect_schema()
        assert {one["weight"] for one in collected(bare.asr.tokens(side))} == {None}
        assert collected(bare.asr.tokens(side).select("weight")) == [{"weight": None}] * len(found)


def test_a_tokenizer_is_loaded_only_for_texts_of_tokens(texts: AnnotatedDirectory) -> None:
    without: Any = frame(texts.path)
    assert "text" not in without.asr.tokens("chosen").collect_schema()
    frame_: Any = frame(texts.path, tokenizer="recorded")  # its name leads nowhere
    assert len(collected(frame_.asr.tokens("chosen").select("asr_row", "keep", "segment"))) > 5
    with pytest.raises(ConfigError, match="--tokenizer"):
        collected(frame_.asr.tokens("chosen").select("text"))


def test_conditions_and_numbers_of_rows_go_into_flat_views(texts: AnnotatedDirectory) -> None:
    frame_: Any = frame(texts.path)
    of_b = frame_.filter(pl.col("topic") == "b").asr.segments("rejected")
    assert collected(of_b.select("asr_row", "text")) == [{"asr_row": 1, "text": "Never."}]
    every = frame_.asr.segments("rejected")
    assert collected(every.filter(pl.col("asr_row") == 1).select("text")) == [{"text": "Never."}]
    assert collected(every.select("side").head(1)) == [{"side": "rejected"}]
    assert collected(every.select(pl.len()))[0]["len"] == len(collected(every))


@pytest.mark.parametrize("form", ["dataset", "polars", "pandas", "list"])
def test_rows_in_memory_have_the_same_views(texts: AnnotatedDirectory, form: str) -> None:
    import datasets
    import pandas as pd

    rows = stored(texts)
    forms = {"dataset": datasets.Dataset.from_list, "polars": pl.DataFrame, "pandas": pd.DataFrame, "list": list}
    in_memory: Any = frame(forms[form](rows))
    on_disk: Any = frame(texts.path)
    assert collected(in_memory.asr.summary()) == collected(on_disk.asr.summary())
    assert collected(in_memory.asr.segments("rejected")) == collected(on_disk.asr.segments("rejected"))
    assert "chosen_token_start" not in in_memory.collect_schema()


def test_a_directory_without_masks_has_rows_and_no_segments(bench: Any, pairs: Any) -> None:
    bench.score(pairs[:3])
    frame_: Any = frame(bench.folder / "scored")
    assert frame_.collect().height == 3
    for view in (frame_.asr.summary, lambda: frame_.asr.tokens("chosen"), lambda: frame_.asr.segments("chosen")):
        with pytest.raises(ConfigError, match="asr-annotate mask"):
            view()


def test_wrong_sides_sources_and_files_are_refused(texts: AnnotatedDirectory) -> None:
    frame_: Any = frame(texts.path)
    with pytest.raises(ConfigError, match="'completion'; it must be one of chosen, rejected"):
        frame_.asr.segments("completion")
    with pytest.raises(ConfigError, match="no column asr_row"):
        pl.LazyFrame({"a": [1]}).asr  # type: ignore[attr-defined]  # noqa: B018
    import datasets

    with pytest.raises(ConfigError, match="names no tokenizer"):
        frame(datasets.Dataset.from_list(stored(texts)), tokenizer="recorded")
    with pytest.raises(InputError, match="DatasetDict"):
        frame({"train": 1})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a list of dictionaries, got LazyFrame"):
        frame(pl.LazyFrame({"asr_row": [1]}))  # type: ignore[arg-type]
    with pytest.raises(CorruptFileError, match=r"asr\.json: missing"):
        frame(texts.path / "data")
    file = next((texts.path / "data").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="not the"):
        frame(texts.path)


def test_it_is_the_packages_own_name() -> None:
    assert asr_data.frame is frame
