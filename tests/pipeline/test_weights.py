"""``--weights`` through the pipeline: resumed, in parts, in memory and redone, the columns are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from asr_data.config import ConfidenceWeights, MaskConfig, Part, ScoringConfig, SegmentWeights, ShareWeights
from asr_data.errors import ConfigError, CorruptFileError, StorageError
from asr_data.evaluation.evaluating import evaluate, sweep
from asr_data.pipeline import merge
from asr_data.pipeline.masking import reference_logps
from asr_data.scoring.reference import load_reference
from asr_data.storage import open_output
from asr_data.storage.commit import observe
from asr_data.storage.validate import validate
from asr_data_cli.app import build_app
from tests.pipeline.conftest import Bench
from tests.pipeline.killing import Killed, killed_at

SIDES = ("chosen", "rejected")
SEGMENT = MaskConfig.model_validate(
    {"baseline": {"kind": "running", "decay": 0.5}, "on_empty": "drop", "weights": {"kind": "segment"}}
)


def flat(table: pa.Table, name: str) -> Any:
    return np.concatenate([np.asarray(part) for side in SIDES for part in table.column(f"{side}_{name}").to_pylist()])


def test_columns_and_statistics(bench: Bench, pairs: Any) -> None:
    summary = bench.run(pairs, mask=SEGMENT, shard_rows=2)
    table = bench.table("out")
    assert table.schema.field("chosen_weight").type == pa.list_(pa.float32())
    weight, mask = flat(table, "weight"), flat(table, "mask")
    assert not weight[~mask].any()
    assert weight[mask].mean() == pytest.approx(1, rel=1e-6)  # over the data set, the dropped rows left out
    assert len(np.unique(weight)) > 5
    statistics = open_output(bench.folder / "out").manifest.statistics
    assert statistics["weight_mean_distance"] > 0
    assert sum(statistics[f"{side}_weight_sum"] for side in SIDES) == pytest.approx(weight.sum(), rel=1e-6)
    assert summary.sides["chosen"].weight_sum == statistics["chosen_weight_sum"]
    assert validate(bench.folder / "out") == []


def test_without_weights_nothing_is_new(bench: Bench, pairs: Any) -> None:
    bench.run(pairs)
    assert not [name for name in bench.table("out").column_names if name.endswith("_weight")]
    manifest = open_output(bench.folder / "out").manifest
    assert "weights" not in manifest.plan.to_json()["mask"]  # type: ignore[operator] # a JSON object
    assert not [name for name in manifest.statistics if "weight" in name]


def test_masks_are_those_without_weights(bench: Bench, pairs: Any) -> None:
    bench.run(pairs, mask=SEGMENT)
    bench.run(pairs, "plain", mask=SEGMENT.without_weights)
    weights = [f"{side}_weight" for side in SIDES]
    assert bench.table("out").drop([*weights, "asr_run"]).equals(bench.table("plain").drop(["asr_run"]))


def test_redone_and_in_parts(bench: Bench, pairs: Any) -> None:
    path = bench.write(pairs)
    bench.run(path, "whole", 2, mask=SEGMENT)
    bench.score(path, "scored", 2)
    bench.mask("scored", "redone", SEGMENT)
    assert bench.table("redone").drop(["asr_run"]).equals(bench.table("whole").drop(["asr_run"]))
    for index in range(3):
        bench.run(path, f"part{index}", 2, mask=SEGMENT, part=Part(num_shards=3, shard_index=index))
    merge([bench.folder / f"part{index}" for index in range(3)], bench.folder / "joined")
    assert bench.files("joined") == bench.files("whole")
    one_shard = bench.run(path, "one", 1_000, mask=SEGMENT)
    assert one_shard.sides == bench.run(path, "whole", 2, mask=SEGMENT, resume=True).sides
    assert flat(bench.table("one"), "weight").tolist() == flat(bench.table("whole"), "weight").tolist()


def test_killed_while_masking_and_resumed(bench: Bench, pairs: Any) -> None:
    bench.score(pairs, shard_rows=2)
    points: list[str] = []
    with observe(lambda point, path: points.append(point)):
        bench.mask("scored", "whole", SEGMENT)
    for count in range(0, len(points), 17):
        with pytest.raises(Killed), observe(killed_at(count)):
            bench.mask("scored", f"killed{count}", SEGMENT)
        bench.mask("scored", f"killed{count}", SEGMENT, resume=True)
        assert bench.files(f"killed{count}") == bench.files("whole"), count


def test_other_weights_are_not_resumed(bench: Bench, pairs: Any) -> None:
    bench.run(pairs, mask=SEGMENT)
    with pytest.raises(StorageError, match=r'mask\.weights\.kind: was "segment", now "share"'):
        bench.run(pairs, mask=SEGMENT.model_copy(update={"weights": ShareWeights(share=0.5)}), resume=True)


def test_figures_are_of_masks_alone(bench: Bench, pairs: Any) -> None:
    keeping = SEGMENT.model_copy(update={"on_empty": "keep-all"})
    bench.run(pairs, mask=keeping)
    bench.run(pairs, "plain", mask=keeping.without_weights)
    found, plain = (evaluate(bench.folder / name, bench.tokenizer) for name in ("out", "plain"))
    assert found.estimates == plain.estimates
    swept = sweep(bench.folder / "out", bench.tokenizer, by="pairs_outcome", settings=[keeping])
    assert (
        swept.settings[0].estimates
        == sweep(bench.folder / "plain", bench.tokenizer, by="pairs_outcome", settings=[keeping.without_weights])
        .settings[0]
        .estimates
    )


@pytest.fixture
def language(tmp_path: Path, make_checkpoint: Callable[..., Path], make_tokenizer: Callable[..., Any]) -> Path:
    import torch

    weight = torch.randn(len(make_tokenizer().hf), 32, generator=torch.Generator().manual_seed(2))
    return make_checkpoint(tmp_path / "language", {"lm_head.weight": weight})


def test_confidence_reads_the_reference(bench: Bench, pairs: Any, language: Path) -> None:
    reference = load_reference(language, ScoringConfig(dtype="float32", device="cpu", max_length=110))
    bench.tokenizer = reference.tokenizer
    config = MaskConfig(weights=ConfidenceWeights())
    bench.run(pairs, mask=config, reference=reference, shard_rows=3)
    assert validate(bench.folder / "out") == []
    rows = bench.table("out").to_pylist()
    unknown = ["no_ref_logp" in row["asr_notes"] for row in rows]
    assert any(unknown)
    assert not all(unknown)
    zero = 0
    for row, absent in zip(rows, unknown, strict=True):
        for side in SIDES:
            weight, mask = (np.array(row[f"{side}_{name}"]) for name in ("weight", "mask"))
            if absent:  # the reference could not read it: as masked
                assert np.array_equal(weight, mask)
                continue
            probability = np.exp(np.array(row[f"{side}_ref_logp"]))
            expected = (probability <= probability.mean()) & mask
            assert np.array_equal(weight[:-2], expected[:-2])
            assert weight[-2:].tolist() == [1, 1]  # the tokens that end the turn
            zero += int((mask & (weight == 0)).sum())
    assert zero > 10
    bench.score(pairs, reference=reference, shard_rows=3)
    bench.mask("scored", "redone", config)
    assert bench.table("redone").drop(["asr_run"]).equals(bench.table("out").drop(["asr_run"]))


def test_confidence_without_a_reference_is_refused_before_scoring(bench: Bench, pairs: Any) -> None:
    config = MaskConfig(weights=ConfidenceWeights())
    with pytest.raises(ConfigError, match=r"S_ref_logp.*--logprobs MODEL"):
        bench.run(pairs, mask=config)
    assert bench.scorer.scored == []
    bench.score(pairs)
    with pytest.raises(ConfigError, match=r"S_ref_logp"):
        bench.mask("scored", "out", config)
    assert not (bench.folder / "out").exists()


def test_log_probabilities_of_another_length_name_the_row() -> None:
    logps: dict[str, Any] = {"asr_row": [4, 9], "chosen_ref_logp": [None, [-1.0, -2.0]]}
    table = pa.table(logps, schema=pa.schema({"asr_row": pa.int64(), "chosen_ref_logp": pa.list_(pa.float32())}))
    with pytest.raises(CorruptFileError, match="row 9: 2 reference log-probabilities for 3 chosen tokens"):
        reference_logps(table, ("chosen",), np.array([0, 2, 5]))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda weight, mask: [-1.0 if keep else 0.0 for keep in mask], "chosen_weight is negative"),
        (lambda weight, mask: [float("inf")] * len(mask), "chosen_weight is not finite"),
        (lambda weight, mask: [float("nan")] * len(mask), "chosen_weight is not finite"),
        (lambda weight, mask: [0.0] * len(mask), "chosen_weight is 0 at every token"),
        (lambda weight, mask: weight[:-1], "chosen_weight is not as long as chosen_mask"),
        (lambda weight, mask: [1.0] * len(mask), "chosen_weight is not 0 where chosen_mask is false"),
        (lambda weight, mask: None, "chosen_weight is null or holds nulls"),
    ],
)
def test_validate_finds_wrong_weights(bench: Bench, pairs: Any, edit: Any, message: str) -> None:
    bench.run(pairs, mask=MaskConfig(segmenter={"kind": "token"}, weights=SegmentWeights()))  # type: ignore[arg-type]
    [path] = sorted((bench.folder / "out" / "data").iterdir())
    table = pq.read_table(path)
    rows = table.to_pylist()
    place = next(n for n, row in enumerate(rows) if not all(row["chosen_mask"]))
    rows[place]["chosen_weight"] = edit(rows[place]["chosen_weight"], rows[place]["chosen_mask"])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    from asr_data.storage.checks import data_findings

    manifest = open_output(bench.folder / "out", verify=False).manifest
    [batch] = pq.read_table(path).to_batches()
    found = {text: bad for text, bad in data_findings(batch, manifest) if bad.any()}
    assert [text for text in found if text.startswith(message)]
    for text, bad in found.items():
        assert np.flatnonzero(bad).tolist() == [place], text


def test_a_column_of_that_name_in_the_input(bench: Bench, pairs: Any) -> None:
    taken = [{**row, "chosen_weight": 1.0} for row in pairs]
    bench.run(taken, "plain")
    with pytest.raises(ConfigError, match=r"chosen_weight.*--prefix"):
        bench.run(taken, "out", mask=SEGMENT)


def test_the_option(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(build_app(), ["mask", str(tmp_path), "-o", str(tmp_path / "o"), "--weights", "share:2"])
    assert wrong.exit_code == 2
    assert "--weights is 'share:2'" in " ".join(wrong.output.split())
