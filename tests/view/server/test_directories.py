from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from asr_data.config import MaskConfig, Token
from asr_data.errors import ConfigError, CorruptFileError, InputError
from asr_data.view.server.directories import Viewed, open_directories
from asr_data.view.server.rows import Rows


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


def test_a_tokenizer_is_loaded_when_it_is_asked_for(
    annotate: Any, make_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    monkeypatch.setattr("asr_data.view.server.directories._recorded", lambda _: tokenizer)
    [viewed] = open_directories([annotate().path])
    assert (viewed.is_ready, viewed.tokenizer, viewed.fixed) == (False, None, "the policy's tokenizer is being loaded")
    viewed.prepare()
    assert (viewed.is_ready, viewed.tokenizer, viewed.fixed) == (True, tokenizer, None)


def test_a_tokenizer_that_cannot_be_loaded_is_no_end_of_the_page(
    annotate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [viewed] = open_directories([annotate().path])  # recorded under a name that leads nowhere
    viewed.prepare()
    assert viewed.is_ready
    assert "the policy's tokenizer cannot be loaded" in (viewed.fixed or "")
    assert "name it with --tokenizer" in (viewed.fixed or "")

    def broken(_: Any) -> None:
        raise RuntimeError("of a library")

    monkeypatch.setattr("asr_data.view.server.directories._recorded", broken)
    [viewed] = open_directories([annotate().path])
    viewed.prepare()
    assert "(RuntimeError: of a library)" in (viewed.fixed or "")


def test_the_page_is_served_without_what_only_settings_need(annotate: Any) -> None:
    heavy = ("torch", "transformers", "pandas", "polars", "numba", "scipy", "vl_convert")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from asr_data.view.server.app import build_app\n"
        "from asr_data.view.server.directories import open_directories\n"
        "from asr_data.view.server.questions import RowsAsked\n"
        "from asr_data.view.server.session import Session\n"
        f"session = Session(open_directories([Path({str(annotate().path)!r})]))\n"
        "build_app(session, token='x', hosts=())\n"
        "assert len(session.rows(RowsAsked())['rows']) == 4\n"
        f"print(*sorted({heavy!r} & sys.modules.keys()))"
    ).replace(repr(heavy), repr(set(heavy)))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


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


@pytest.mark.parametrize("content", [None, b"PAR1", b"longer"])
@pytest.mark.parametrize("file", ["asr.json", "data/train-00000.parquet"])
def test_a_file_that_goes_or_changes_under_the_page(annotate: Any, file: str, content: bytes | None) -> None:
    viewed = Viewed(annotate(), "x", "none", None)
    rows = Rows([viewed])
    assert len(rows.page([0, 1])["rows"]) == 2
    path = viewed.annotated.path / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + content if content == b"longer" else content)
    with pytest.raises(CorruptFileError, match=re.escape(str(viewed.annotated.path))):
        rows.page([0, 1])


def test_scores_that_go_under_the_page(annotate: Any, make_tokenizer: Any) -> None:
    from asr_data.view.server.trials import Trials

    viewed = Viewed(annotate(), "x", make_tokenizer(), None)
    path = viewed.annotated.path / "scores" / "train-00000.parquet"
    path.unlink()
    with pytest.raises(CorruptFileError, match=re.escape(str(path))):
        Trials(viewed).masked([0], MaskConfig())


def test_baselines_that_depend_on_other_rows_are_found_once(annotate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Viewed(annotate(), "x", "none", None).baselines() is None
    viewed = Viewed(annotate(mask=MaskConfig(segmenter=Token(), baseline="dataset")), "x", "none", None)
    found = viewed.baselines()
    assert found is not None
    assert found.shape == (4, 2)
    monkeypatch.setattr("asr_data.view.server.directories.all_baselines", None)
    assert viewed.baselines() is found
