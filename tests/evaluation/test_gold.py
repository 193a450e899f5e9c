"""Gold labels from a second annotated directory: only from one that is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from asr_data.config import MaskConfig
from asr_data.errors import CorruptFileError, InputError
from asr_data.evaluation.gold import find_gold
from asr_data.storage import open_output


def data_file(bench: Any, name: str) -> Path:
    (path,) = (bench.folder / name / "data").iterdir()
    return Path(path)


def turn_round(path: Path) -> None:
    table = pq.read_table(path)
    kept = [[not flag for flag in row] for row in table.column("chosen_seg_keep").to_pylist()]
    place = table.schema.get_field_index("chosen_seg_keep")
    pq.write_table(table.set_column(place, table.schema.field(place), [kept]), path)


def test_a_second_directory_with_other_numbers_is_refused(bench: Any, pairs: Any) -> None:
    """Parquet itself notices nothing: the file is well formed, with every verdict turned round."""
    bench.run(pairs)
    bench.mask("out", "other", MaskConfig(segmenter="sequence", baseline=0.0))
    turn_round(data_file(bench, "other"))
    with pytest.raises(CorruptFileError, match="data/train-00000"):
        find_gold(open_output(bench.folder / "out", verify=False), str(bench.folder / "other"))


def test_a_second_directory_that_changes_while_it_is_read_is_refused(
    bench: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr_data.evaluation import gold

    bench.run(pairs)
    bench.mask("out", "other", MaskConfig(segmenter="sequence", baseline=0.0))
    read, changed = gold.normalise, []

    def change(*arguments: Any) -> Any:
        if not changed:
            changed.append(turn_round(data_file(bench, "other")))
        return read(*arguments)

    monkeypatch.setattr(gold, "normalise", change)
    with pytest.raises(CorruptFileError, match="data/train-00000"):
        find_gold(open_output(bench.folder / "out"), str(bench.folder / "other"))


def test_a_second_directory_without_masks_is_refused(bench: Any, pairs: Any) -> None:
    bench.run(pairs)
    bench.score(pairs)
    with pytest.raises(InputError, match="holds scores and no masks"):
        find_gold(open_output(bench.folder / "out"), str(bench.folder / "scored"))
