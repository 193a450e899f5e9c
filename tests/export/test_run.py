"""The export itself: what is cut, left out, noted, refused, and written whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from asr_data.config import MaskConfig, ShareWeights, SoftWeights
from asr_data.errors import ConfigError, CorruptFileError, InputError, OutputExistsError
from asr_data.export import FORMATS, Target, export
from asr_data.export.examples import Cutter, Response
from asr_data.export.files import write_data
from asr_data.export.notes import LEFT_OUT_CODES, NOTE_CODES
from asr_data.storage import AnnotatedDirectory
from tests.export.conftest import PAIRS, Workshop, columns


def notes(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "notes.jsonl").read_text(encoding="utf-8").splitlines()]


def lists(path: Path, name: str) -> list[list[int]]:
    return pq.read_table(next((path / "data").iterdir())).column(name).to_pylist()


def with_masks(annotated: AnnotatedDirectory, change: Any) -> AnnotatedDirectory:
    """The same directory with other columns; its checksums are no longer right, and not looked at."""
    (path,) = (annotated.path / "data").iterdir()
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return AnnotatedDirectory(annotated.path, annotated.manifest, verify=False)


def test_labels_are_the_kept_tokens(annotated: AnnotatedDirectory) -> None:
    done = export(annotated, "trl-sft", Path("out"))
    wanted = columns(annotated)
    assert lists(Path("out"), "input_ids") == [row["prompt_ids"] + row["chosen_ids"] for row in wanted]
    assert lists(Path("out"), "labels") == [
        [-100] * len(row["prompt_ids"])
        + [token if kept else -100 for token, kept in zip(row["chosen_ids"], row["chosen_mask"], strict=True)]
        for row in wanted
    ]
    assert any(-100 in labels[-5:] or -100 in labels[-20:] for labels in lists(Path("out"), "labels"))
    assert (done.examples, done.notes, done.left_out) == (4, {}, {})
    assert done.longest == max(map(len, lists(Path("out"), "input_ids")))
    assert notes(Path("out")) == []


def test_too_long_sequences_are_cut_at_the_end_and_noted(annotated: AnnotatedDirectory) -> None:
    whole = [row["prompt_ids"] + row["chosen_ids"] for row in columns(annotated)]
    limit = max(map(len, whole)) - 3
    done = export(annotated, "trl-sft", Path("out"), max_length=limit)
    assert lists(Path("out"), "input_ids") == [ids[:limit] for ids in whole]
    assert done.longest == limit
    cut = [{"asr_row": row, "side": "chosen", "code": "truncated", "tokens": len(ids) - limit}
           for row, ids in enumerate(whole) if len(ids) > limit]  # fmt: skip
    assert notes(Path("out")) == cut
    assert done.notes == {"truncated": len(cut)} != {"truncated": 0}


def test_cutting_the_start_takes_the_prompt_first(annotated: AnnotatedDirectory) -> None:
    whole = [row["prompt_ids"] + row["chosen_ids"] for row in columns(annotated)]
    export(annotated, "trl-sft", Path("out"), max_length=12, truncate="start")
    assert lists(Path("out"), "input_ids") == [ids[-12:] for ids in whole]
    assert all(labels[0] == -100 for labels in lists(Path("out"), "labels"))


def test_what_has_nothing_left_to_train_on_is_left_out(annotated: AnnotatedDirectory) -> None:
    rows = columns(annotated)
    limit = len(rows[3]["prompt_ids"]) + 1  # the shortest prompt and one token
    done = export(annotated, "llamafactory-kto", Path("out"), max_length=limit)
    sides = [(row["prompt_ids"], row[f"{side}_mask"]) for row in rows for side in ("chosen", "rejected")]
    kept = sum(any(mask[: max(0, limit - len(prompt))]) for prompt, mask in sides)
    assert done.examples == kept
    assert done.left_out == {"nothing_to_train_on": 8 - kept}
    assert {note["code"] for note in notes(Path("out"))} == {"nothing_to_train_on", "truncated"}
    card = Path("out/README.md").read_text(encoding="utf-8")
    assert f"| left out: nothing_to_train_on | {8 - kept} |" in card
    assert f"{limit}, cut at the end" in card


def test_a_pair_goes_with_either_side(annotated: AnnotatedDirectory) -> None:
    def no_rejected(rows: list[dict[str, Any]]) -> None:
        rows[1]["rejected_mask"] = [False] * len(rows[1]["rejected_mask"])

    done = export(with_masks(annotated, no_rejected), "llamafactory-dpo", Path("out"))
    assert (done.examples, done.left_out) == (3, {"nothing_to_train_on": 1})
    assert notes(Path("out")) == [{"asr_row": 1, "side": "rejected", "code": "nothing_to_train_on"}]


def test_nothing_predicts_the_first_token(annotated: AnnotatedDirectory) -> None:
    def no_prompt(rows: list[dict[str, Any]]) -> None:
        rows[0]["prompt_ids"] = []
        rows[0]["chosen_mask"][0] = True

    done = export(with_masks(annotated, no_prompt), "verl-sft", Path("out"))
    assert done.notes == {"first_token_masked": 1}
    assert lists(Path("out"), "loss_mask")[0] == [0, *columns(annotated)[0]["chosen_mask"][1:]]


def test_ids_and_masks_that_do_not_fit_are_refused(annotated: AnnotatedDirectory) -> None:
    def shorter(rows: list[dict[str, Any]]) -> None:
        rows[2]["chosen_mask"] = rows[2]["chosen_mask"][:-1]

    with pytest.raises(CorruptFileError, match=r"row 2 has \d+ chosen tokens"):
        export(with_masks(annotated, shorter), "trl-sft", Path("out"))
    assert not list(Path().glob("*out*"))


def test_negative_ids_and_nulls_are_refused(annotated: AnnotatedDirectory) -> None:
    def negative(rows: list[dict[str, Any]]) -> None:
        rows[0]["prompt_ids"][0] = -1

    def null(rows: list[dict[str, Any]]) -> None:
        rows[0]["chosen_mask"][0] = None

    with pytest.raises(CorruptFileError, match="row 0 has a token id below 0"):
        export(with_masks(annotated, negative), "trl-sft", Path("out"))
    with pytest.raises(CorruptFileError, match="'chosen_mask' holds nulls"):
        export(with_masks(annotated, null), "trl-sft", Path("out"))


def test_a_changed_file_is_refused(annotated: AnnotatedDirectory) -> None:
    (path,) = (annotated.path / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFileError, match="changed"):
        export(annotated, "trl-sft", Path("out"))


def unpaired() -> list[dict[str, Any]]:
    return [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in PAIRS
        for side in ("chosen", "rejected")
    ]


def test_unpaired_rows_keep_their_verdict(workshop: Workshop) -> None:
    judged = workshop.annotate(unpaired(), prefix="asr_")
    done = export(judged, "trl-sft", Path("sft"))
    assert (done.examples, done.left_out) == (4, {"not_preferred": 4})
    assert export(judged, "llamafactory-kto", Path("kto")).examples == 8
    tags = pa.ipc.open_stream("kto/train/data-00000-of-00001.arrow").read_all().column("kto_tags").to_pylist()
    assert tags == [True, False] * 4
    with pytest.raises(ConfigError, match="needs pairs"):
        export(judged, "llamafactory-dpo", Path("dpo"))


def test_rows_without_a_verdict_are_preferred(workshop: Workshop) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
    assert export(workshop.annotate(rows), "trl-sft", Path("out")).examples == 4


def test_values_that_python_does_not_hold_stay_out_of_the_way(workshop: Workshop) -> None:
    path = Path("far.parquet")
    far = {
        "day": pa.array([2**31 - 1, -(2**31), None, 0], pa.date32()),  # beyond year 9999, and before year 1
        "time": pa.array([2**62, 1, None, -(2**62)], pa.timestamp("ms", tz="Mars/Phobos")),
        "long": pa.array([2**62, 1, None, 0], pa.duration("ms")),
    }
    pq.write_table(pa.table({name: [row[name] for row in PAIRS] for name in PAIRS[0]} | far), path)
    annotated = workshop.annotate_file(path)
    for target in get_args(Target):
        done = export(annotated, target, Path(f"out-{target}"), tokenizer=workshop.tokenizer)
        assert done.examples >= 4
    (path,) = Path("out-jsonl").glob("train-*.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = pq.read_table(annotated.path / "data", columns=["chosen_ids"])["chosen_ids"].to_pylist()
    assert [json.loads(line)["chosen_ids"] for line in lines] == wanted


def test_scored_directories_are_refused(annotated: AnnotatedDirectory) -> None:
    scored = AnnotatedDirectory(annotated.path, annotated.manifest.model_copy(update={"stage": "scored"}), verify=True)
    for target in ("trl-sft", "jsonl"):
        with pytest.raises(InputError, match="no masks yet"):
            export(scored, target, Path("out"))


def test_an_export_with_nothing_in_it_is_not_written(annotated: AnnotatedDirectory) -> None:
    with pytest.raises(InputError, match="nothing_to_train_on"):
        export(annotated, "trl-sft", Path("out"), max_length=2)
    assert not Path("out").exists()


def test_an_earlier_export_is_replaced_only_when_asked(annotated: AnnotatedDirectory) -> None:
    export(annotated, "trl-sft", Path("out"))
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export(annotated, "jsonl", Path("out"))
    export(annotated, "jsonl", Path("out"), overwrite=True)
    assert Path("out/load.py").is_file()
    assert not Path("out/data").exists()
    Path("out/mine.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"mine\.txt"):
        export(annotated, "jsonl", Path("out"), overwrite=True)
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_what_is_no_export_is_never_replaced(annotated: AnnotatedDirectory) -> None:
    with pytest.raises(OutputExistsError, match="is not an export"):
        export(annotated, "jsonl", annotated.path, overwrite=True)
    Path("file").write_text("", encoding="utf-8")
    with pytest.raises(OutputExistsError, match="is not an export"):
        export(annotated, "jsonl", Path("file"), overwrite=True)


def test_a_failed_export_leaves_the_earlier_one(annotated: AnnotatedDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    export(annotated, "trl-sft", Path("out"))
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    for place in ("write_data", "export_card"):
        with monkeypatch.context() as broken:
            broken.setattr(f"asr_data.export.run.{place}", full)
            with pytest.raises(OSError, match="no space"):
                export(annotated, "trl-sft", Path("out"), overwrite=True, max_length=30)
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_a_kill_while_replacing_loses_nothing(annotated: AnnotatedDirectory) -> None:
    export(annotated, "trl-sft", Path("out"))
    Path("out").rename(".out.old")
    Path(".out.partial").mkdir()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export(annotated, "jsonl", Path("out"))
    assert Path("out/trl-sft.yaml").is_file()
    export(annotated, "jsonl", Path("out"), overwrite=True)
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


def test_equal_exports_have_equal_bytes(workshop: Workshop) -> None:
    """However the rows are spread over files."""
    for shard_rows in (1, 10):
        made = workshop.annotate(PAIRS, f"by{shard_rows}", shard_rows=shard_rows)
        for target in ("llamafactory-dpo", "axolotl-sft"):
            export(made, target, Path(f"{target}-{shard_rows}"))
    for target in ("llamafactory-dpo", "axolotl-sft"):
        one, ten = (
            {path.name: path.read_bytes() for path in Path(f"{target}-{rows}").rglob("*.[ap]*r*")} for rows in (1, 10)
        )
        assert one == ten
        assert len(one) == 1


def test_rows_are_taken_a_batch_at_a_time(tmp_path: Path) -> None:
    """Never more than a batch of examples is made ahead of what is written."""
    schema = pa.schema([("x", pa.list_(pa.int32()))])
    alive: list[int] = []

    class Counted(dict[str, Any]):
        def __del__(self) -> None:
            alive.pop()

    most = 0

    def records() -> Any:
        nonlocal most
        for _ in range(5_000):
            alive.append(1)
            most = max(most, len(alive))
            yield Counted(x=[1, 2])

    for name in ("a.parquet", "a.jsonl", "train/a.arrow"):
        most = 0
        assert write_data(tmp_path, name, schema, records()) == 5_000
        assert most <= 2_001


def test_load_dataset_sees_a_new_export(annotated: AnnotatedDirectory) -> None:
    """It keeps what it read by the card and the names of the files in it; the content is not looked at."""
    for limit in (40, 30):
        export(annotated, "trl-sft", Path("again"), max_length=limit, overwrite=True)
        assert load_dataset("again", split="train")["input_ids"][:] == lists(Path("again"), "input_ids")


@pytest.mark.parametrize("target", [target for target in FORMATS if target != "axolotl-segments"])
def test_the_card_opens_and_says_how_to_train(annotated: AnnotatedDirectory, target: Target) -> None:
    done = export(annotated, target, Path("out dir"))
    card = Path("out dir/README.md").read_text(encoding="utf-8")
    assert done.setup.text.strip() in card
    assert done.setup.command in card
    assert (Path("out dir") / done.setup.file).read_text(encoding="utf-8") == done.setup.text
    _, header, _ = card.split("---\n", 2)
    (config,) = yaml.safe_load(header)["configs"]
    assert (Path("out dir") / config["data_files"][0]["path"]).is_file()
    assert len(load_dataset("out dir", split="train")) == done.examples
    content = json.loads(Path("out dir/export.json").read_bytes())
    assert content["data"] == config["data_files"][0]["path"]
    files = {path.relative_to("out dir").as_posix() for path in Path("out dir").rglob("*") if path.is_file()}
    assert files == {"export.json", *content["files"]}
    if done.setup.file.endswith(".yaml"):
        assert (
            str(annotated.manifest.tokenizer and annotated.manifest.tokenizer.name)
            in yaml.safe_load(done.setup.text).values()
        )


def test_json_lines_hold_the_columns_as_they_are(annotated: AnnotatedDirectory) -> None:
    done = export(annotated, "jsonl", Path("out"))
    lines = [
        json.loads(line) for line in next(Path("out").glob("train-*.jsonl")).read_text(encoding="utf-8").splitlines()
    ]
    added = annotated.manifest.added_columns()
    assert lines == [{name: row[name] for name in added} for row in columns(annotated)]
    assert done.examples == 4
    with pytest.raises(ConfigError, match="--max-length"):
        export(annotated, "jsonl", Path("other"), max_length=5)


def test_every_code_has_a_meaning_and_every_target_a_format(annotated: AnnotatedDirectory) -> None:
    assert get_args(Target) == FORMATS
    assert not set(NOTE_CODES) & set(LEFT_OUT_CODES)
    with pytest.raises(ConfigError, match="not one of llamafactory-dpo, "):
        export(annotated, "trl-dpo", Path("out"))  # type: ignore[arg-type]


def test_a_sequence_by_hand() -> None:
    """Prompt 1 2, response 3 4 5 with the middle masked, four tokens allowed."""
    import numpy as np

    response = Response(0, "chosen", True, np.array([1, 2]), np.array([3, 4, 5]), np.array([True, False, True]))

    class Silent:
        def add(self, *_: Any, **__: Any) -> None: ...

    end = Cutter(Silent(), 4, "end").sequence(response)  # type: ignore[arg-type]
    start = Cutter(Silent(), 3, "start").sequence(response)  # type: ignore[arg-type]
    assert end is not None
    assert start is not None
    assert (end.ids.tolist(), end.labels.tolist()) == ([1, 2, 3, 4], [-100, -100, 3, -100])
    assert (start.ids.tolist(), start.labels.tolist()) == ([3, 4, 5], [-100, -100, 5])


def test_weights_go_where_a_trainer_takes_them(workshop: Workshop) -> None:
    soft = workshop.annotate(PAIRS, "soft", mask=MaskConfig(weights=SoftWeights()))
    for target in FORMATS:
        if target in ("jsonl", "verl-sft", "ms-swift-sft"):
            export(soft, target, Path(f"soft-{target}"))
        else:
            with pytest.raises(
                ConfigError, match=r"masks and no weights.*--weights soft.*verl-sft, ms-swift-sft, jsonl"
            ):
                export(soft, target, Path("out"))
    rows = [json.loads(line) for line in next(Path("soft-jsonl").glob("train*.jsonl")).read_text().splitlines()]
    assert [row["chosen_weight"] for row in rows] == [row["chosen_weight"] for row in columns(soft)]


@pytest.mark.parametrize("target", ["ms-swift-sft", "verl-sft", "jsonl"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: [-1.0, *w[1:]], r"-1.0 at token 0; they are finite and at least 0"),
        (lambda w: [math.nan, *w[1:]], r"nan at token 0; they are finite"),
        (lambda w: [*w[:-1], math.inf], r"inf at token \d+; they are finite"),
        (lambda w: [0.5 if x == 0 else x for x in w], r"0.5 at token \d+, where the mask is false; it must be 0"),
        (lambda w: [0.0] * len(w), r"0 at every token, and the mask keeps some"),
        (lambda w: w[1:], r"\d+ entries for \d+ tokens"),
    ],
)
def test_wrong_weights_name_the_row(workshop: Workshop, target: Target, change: Any, message: str) -> None:
    soft = workshop.annotate(PAIRS, "soft", mask=MaskConfig(weights=SoftWeights()))

    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[1]["chosen_weight"] = change(rows[1]["chosen_weight"])

    with pytest.raises(CorruptFileError, match=rf"row 1, chosen weights: {message}"):
        export(with_masks(soft, spoil), target, Path("out"))
    assert not Path("out").exists()


@pytest.mark.parametrize("trainer", ["prime-rl", "openrlhf"])
def test_a_trainer_without_a_way_in_is_refused_with_the_reason(trainer: Any, annotated: AnnotatedDirectory) -> None:
    message = rf"--to {trainer} cannot be had: (its SFT loader|it has no way in).*allowed are"
    with pytest.raises(ConfigError, match=message):
        export(annotated, trainer, Path("out"))


def test_weights_of_0_and_1_are_masks(workshop: Workshop) -> None:
    share = workshop.annotate(PAIRS, "share", mask=MaskConfig(weights=ShareWeights(share=0.5)))
    export(share, "trl-sft", Path("out"))
    [path] = Path("out/data").iterdir()
    kept = [[label != -100 for label in row["labels"]] for row in pq.read_table(path).to_pylist()]
    for labels, row in zip(kept, columns(share), strict=True):
        assert labels[len(row["prompt_ids"]) :] == [weight > 0 for weight in row["chosen_weight"]]
        assert sum(labels) < sum(row["chosen_mask"])
