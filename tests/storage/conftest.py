"""A small output directory, written by hand: rows 0 and 2 of three are annotated, row 1 is rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from asr_data.storage import Counts, InputRecord, Manifest, Plan, ScorerRecord, TokenizerRecord
from asr_data.storage.card import dataset_card
from asr_data.storage.output import OutputDirectory
from asr_data_schemas import REJECTS_SCHEMA, data_schema, scores_schema

SIDES = ("chosen", "rejected")
RUN = "0123456789abcdef"
INPUT_SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string()),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)


def side_columns(side: str) -> dict[str, Any]:
    return {
        f"{side}_ids": [5, 6, 7, 8],
        f"{side}_mask": [True, True, False, False],
        f"{side}_token_reward": [0.5, 0.5, -1.5, -1.5],
        f"{side}_seg_start": [0, 2],
        f"{side}_seg_text_start": [0, 3],
        f"{side}_seg_reward": [0.5, -1.5],
        f"{side}_seg_keep": [True, False],
        f"{side}_reward": -0.5,
    }


def score_columns(side: str) -> dict[str, Any]:
    return {
        f"{side}_span_end": [0, 3, 9],
        f"{side}_span_reward": [0.25, 0.5, -1.5],
        f"{side}_step_end": [],
        f"{side}_reward": None,
    }


def data_row(index: int) -> dict[str, Any]:
    return {
        "prompt": f"Frage {index} 😀",
        "messages": [{"role": "user", "content": "é"}],
        "prompt_ids": [1, 2],
        **side_columns("chosen"),
        **side_columns("rejected"),
        "asr_notes": ["truncated"] if index == 2 else [],
        "asr_row": index,
        "asr_run": RUN,
    }


def score_row(index: int) -> dict[str, Any]:
    return {"asr_row": index, **score_columns("chosen"), **score_columns("rejected")}


@pytest.fixture
def rows() -> dict[str, list[dict[str, Any]]]:
    return {
        "data": [data_row(0), data_row(2)],
        "scores": [score_row(0), score_row(2)],
        "rejects": [{"asr_row": 1, "code": "empty_prompt", "message": "the prompt is empty"}],
    }


@pytest.fixture
def schemas() -> dict[str, pa.Schema]:
    return {
        "data": pa.schema([*INPUT_SCHEMA, *data_schema(SIDES)]),
        "scores": scores_schema(SIDES),
        "rejects": REJECTS_SCHEMA,
    }


def plan_for(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "input": InputRecord(
            description="pairs.parquet",
            fingerprint="f00",
            rows=3,
            layout="preference",
            columns={"prompt": "prompt"},
            column_types={field.name: str(field.type) for field in INPUT_SCHEMA},
        ),
        "scorer": ScorerRecord(name="built-in", kind="token_head", form="value", fingerprint="beef"),
        "layout": {"kind": "preference", "columns": {"prompt": "prompt", "chosen": "c", "rejected": "r"}},
        "scorer_tokenizer": None,
        "scoring": {},
        "output": {},
        "versions": {"asr-data": "0.1.0"},
        "tokenizer": TokenizerRecord(name="tiny", fingerprint="cafe"),
        "mask": {"end_token": "segment"},
    }
    return Plan.model_validate(settings | changes)


def manifest_for(files: Any, plan: Plan | None = None, **changes: Any) -> Manifest:
    of_plan = ("input", "scorer", "tokenizer", "mask", "output", "versions", "reference", "scoring")
    asked = {name: getattr(plan or plan_for(), name) for name in Plan.model_fields}
    plan = Plan.model_validate(asked | {name: changes.pop(name) for name in of_plan if name in changes})
    settings: dict[str, Any] = {
        **{name: getattr(plan, name) for name in of_plan},
        "asr_data_version": "0.1.0",
        "stage": "masked",
        "run_id": RUN,
        "plan": plan,
        "sides": SIDES,
        "statistics": {"sigma": 0.5},
        "counts": Counts(rows=3, annotated=2, rejected=1, notes={"truncated": 1}, rejects={"empty_prompt": 1}),
        "files": files,
    }
    return Manifest.model_validate(settings | changes)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, schemas: dict[str, pa.Schema], rows: dict[str, list[dict[str, Any]]]) -> Write:
    """Writes ``rows`` as a finished output directory; keyword arguments change the manifest."""

    def write_output(name: str = "out", resume: bool = False, **changes: Any) -> Path:
        plan = changes.pop("plan", None) or plan_for()
        output = OutputDirectory.create(tmp_path / name, plan, resume=resume)
        if output.is_finished:
            return output.path
        names = {
            "data": "data/train-00000.parquet",
            "scores": "scores/train-00000.parquet",
            "rejects": "rejects/train.parquet",
        }
        tables = {
            path: (schemas[config], [pa.Table.from_pylist(rows[config], schemas[config])])
            for config, path in names.items()
        }
        shard = output.committed("mask", 0) or output.commit_shard("mask", 0, tables)
        manifest = manifest_for(shard.files, plan, **changes)
        output.finish(manifest, dataset_card(manifest, schemas["data"]))
        return output.path

    return write_output
