from __future__ import annotations

from typing import Any

import pytest

from asr_data.config import MaskConfig, Token
from asr_data.errors import ConfigError, CorruptFileError, InputError
from asr_data.view.server.directories import Viewed, open_directories


def test_names_are_as_long_as_they_must_be(annotate: Any, tmp_path: Any) -> None:
    first = annotate().path
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").symlink_to(first)
    with pytest.raises(ConfigError, match="a directory is given twice"):
        open_directories([tmp_path / "a" / "x", tmp_path / "b" / "x"], "none")


def test_an_unfinished_directory_is_told_from_no_directory(annotate: Any, tmp_path: Any) -> None:
    annotated = annotate()
    (annotated.path / "asr.json").unlink()
    with pytest.raises(CorruptFileError, match="not a finished output of asr-annotate"):
        open_directories([annotated.path], "none")
    (annotated.path / ".asr-work").mkdir()
    with pytest.raises(CorruptFileError, match="is not finished: a run is writing to it, or was stopped"):
        open_directories([annotated.path], "none")


def test_a_directory_that_was_only_scored(annotate: Any, tmp_path: Any) -> None:
    from asr_data.view.reading import require_segments

    annotated = annotate()
    annotated.manifest = annotated.manifest.model_copy(update={"stage": "scored"})
    with pytest.raises(InputError, match="holds scores and no segments yet"):
        require_segments(annotated)


def test_directories_of_other_inputs(annotate: Any) -> None:
    one, other = annotate().path, annotate([{"prompt": "Q", "chosen": "Yes.", "rejected": "No."}]).path
    with pytest.raises(InputError, match="is not of the same input as"):
        open_directories([one, other], "none")


def test_without_scores_settings_are_fixed_and_it_says_so(annotate: Any, make_tokenizer: Any) -> None:
    annotated = annotate()
    assert Viewed(annotated, "x", make_tokenizer(), None).fixed is None
    (annotated.path / "scores" / "train-00000.parquet").unlink()
    assert "has no scores/, from which other masks would be made" in (
        Viewed(annotated, "x", make_tokenizer(), None).fixed or ""
    )
    assert "no tokenizer was asked for" in (open_directories([annotate().path], "none")[0].fixed or "")


def test_a_sample_is_the_whole_where_it_can_be(annotate: Any) -> None:
    viewed = Viewed(annotate(shard_rows=2), "x", "none", None)
    assert viewed.sample(4) == [0, 1, 2, 3]
    drawn = viewed.sample(2)
    assert drawn == sorted(set(drawn))
    assert (len(drawn), viewed.sample(2)) == (2, drawn)
    assert viewed.indices.tolist() == [0, 1, 2, 4]


def test_a_directory_that_was_replaced(annotate: Any) -> None:
    viewed = Viewed(annotate(), "x", "none", None)
    viewed.check()
    path = viewed.annotated.path / "asr.json"
    path.write_bytes(path.read_bytes())
    with pytest.raises(CorruptFileError, match="was replaced or removed while the page was open"):
        viewed.check()


def test_baselines_that_depend_on_other_rows_are_found_once(annotate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Viewed(annotate(), "x", "none", None).baselines() is None
    viewed = Viewed(annotate(mask=MaskConfig(segmenter=Token(), baseline="dataset")), "x", "none", None)
    found = viewed.baselines()
    assert found is not None
    assert found.shape == (4, 2)
    monkeypatch.setattr("asr_data.view.server.directories.all_baselines", None)
    assert viewed.baselines() is found
