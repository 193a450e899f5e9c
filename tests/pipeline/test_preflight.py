"""What is refused before a model is loaded."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig, OutputConfig, Part, ScoringConfig
from asr_data.errors import ConfigError, InputError, OutputExistsError, StorageError
from asr_data.pipeline import check_before_scoring
from asr_data.storage.card import check_features
from tests.pipeline.killing import Killed


def check(bench: Any, rows: Any, output: str = "out", **options: Any) -> None:
    settings: dict[str, Any] = {
        "scoring": ScoringConfig(),
        "writing": OutputConfig(shard_rows=1_000),
        "mask": MaskConfig(),
        "scorer_name": "fake",
    }
    check_before_scoring(*bench.open(rows), bench.folder / output, **settings | options)


def test_what_the_run_itself_takes_is_taken(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)
    check(bench, path)
    assert not (bench.folder / "out").exists()
    bench.run(path)
    check(bench, path)
    check(bench, path, resume=True)
    check(bench, path, overwrite=True, mask=None)
    check(bench, path, scorer_name=None)  # as with settings in a file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": MaskConfig(on_empty="drop")}, 'mask.on_empty: was "keep-all", now "drop"'),
        ({"scoring": ScoringConfig(max_length=9)}, "scoring.max_length: was null, now 9"),
        ({"writing": OutputConfig(shard_rows=2)}, "output.shard_rows: was 1000, now 2"),
        ({"scorer_name": "other"}, 'scorer.name: was "fake", now "other"'),
        ({"mask": None}, r"mask\.\S+: was .*, now nothing"),
        ({"part": Part(num_shards=2, shard_index=0)}, "shard_index: was nothing, now 0"),
    ],
)
def test_a_finished_output_of_another_run(bench: Any, pairs: Any, options: Any, message: str) -> None:
    path = bench.write(pairs)
    bench.run(path)
    before = bench.files("out")
    with pytest.raises(OutputExistsError, match=message):
        check(bench, path, **options)
    with pytest.raises(OutputExistsError, match=r"input\.fingerprint"):
        check(bench, bench.write(pairs[:3], "other.jsonl"))
    assert bench.files("out") == before


def test_an_output_that_is_a_link_to_itself(bench: Any, pairs: Any) -> None:
    (bench.folder / "out").symlink_to("out")
    with pytest.raises(StorageError, match="out: "):
        check(bench, bench.write(pairs))


def test_an_unfinished_output_of_another_run(bench: Any, pairs: Any) -> None:
    path = bench.write(pairs)

    def killed(*_: Any) -> Any:
        raise Killed

    bench.scorer.score = killed
    with pytest.raises(Killed):
        bench.run(path, part=Part(num_shards=2, shard_index=1))
    check(bench, path, part=Part(num_shards=2, shard_index=1))
    with pytest.raises(OutputExistsError, match="shard_index: was 1, now 0"):
        check(bench, path, part=Part(num_shards=2, shard_index=0))
    with pytest.raises(OutputExistsError, match="num_shards: was 2, now nothing"):
        check(bench, path)


def test_flags_that_exclude_each_other(bench: Any, pairs: Any) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        check(bench, pairs, resume=True, overwrite=True)


def test_directories_of_others(bench: Any, pairs: Any) -> None:
    (bench.folder / "photos").mkdir()
    (bench.folder / "photos/cat.jpg").touch()
    (bench.folder / "link").symlink_to(bench.folder / "nowhere")
    (bench.folder / "file").touch()
    for output, message in (("photos", "holds cat.jpg"), ("link", "which does not exist"), ("file", "is a file")):
        for flags in ({}, {"overwrite": True}):
            with pytest.raises(OutputExistsError, match=message):
                check(bench, pairs, output, **flags)


def test_an_output_inside_the_input_and_the_reverse(bench: Any, pairs: Any) -> None:
    folder = bench.folder / "input"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(pairs), folder / "train.parquet")
    (bench.folder / "alias").symlink_to(folder)
    from asr_data.rows import detect, first_records, open_source

    source = open_source(folder)
    layout = detect(source.schema, first_records(source))
    settings: Any = {"scoring": ScoringConfig(), "writing": OutputConfig()}
    for output in ("input/out", "alias/out"):
        with pytest.raises(StorageError, match="the output is inside the input directory"):
            check_before_scoring(source, layout, bench.folder / output, **settings)
    with pytest.raises(StorageError, match="is the input"):
        check_before_scoring(source, layout, folder, **settings)
    with pytest.raises(StorageError, match="the input is inside the output directory"):
        check_before_scoring(source, layout, bench.folder, **settings)
    # A file's own folder is no input.
    check(bench, bench.write(pairs), "beside")


def test_a_saved_dataset_is_a_directory_too(bench: Any, pairs: Any) -> None:
    import datasets

    from asr_data.rows import open_source

    datasets.Dataset.from_list(pairs).save_to_disk(str(bench.folder / "saved"))
    assert open_source(bench.folder / "saved").directory == bench.folder / "saved"


def test_mask_and_merge_into_their_own_input(bench: Any, pairs: Any) -> None:
    from asr_data.pipeline import merge

    bench.score(pairs)
    with pytest.raises(StorageError, match="the output is inside the input directory"):
        bench.mask("scored", "scored/inside", MaskConfig())
    with pytest.raises(StorageError, match="the input is inside the output directory"):
        bench.mask("scored", ".", MaskConfig(), overwrite=True)
    path = bench.write(pairs)
    bench.run(path, "part", part=Part(num_shards=1, shard_index=0))
    with pytest.raises(StorageError, match="the output is inside the input directory"):
        merge([bench.folder / "part"], bench.folder / "part/joined")


def test_a_column_that_a_card_cannot_describe() -> None:
    check_features(pa.schema([("a", pa.list_(pa.string())), ("b", pa.timestamp("us"))]))
    with pytest.raises(InputError, match="column 'gap' has type month_day_nano_interval"):
        check_features(pa.schema([("a", pa.string()), ("gap", pa.month_day_nano_interval())]))
