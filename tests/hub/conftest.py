"""A Hub on loopback, a client for it, and small output directories to push."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pytest
from huggingface_hub import constants

from asr_data.storage.card import dataset_card
from asr_data.storage.output import OutputDirectory
from asr_data_schemas import REJECTS_SCHEMA, data_schema, scores_schema
from tests.hub.server import TOKEN, HubServer
from tests.storage.conftest import INPUT_SCHEMA, SIDES, data_row, manifest_for, plan_for, score_row

MakeOutput = Callable[..., Path]


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def api(server: HubServer) -> huggingface_hub.HfApi:
    return huggingface_hub.HfApi(endpoint=server.url, token=TOKEN)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait asked for, in seconds; none is waited for."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    return asked


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No Xet, which needs servers of its own, no bars, no cache outside the test."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    huggingface_hub.utils.disable_progress_bars()
    yield
    huggingface_hub.utils.enable_progress_bars()


@pytest.fixture
def make_output(tmp_path: Path) -> MakeOutput:
    """Writes a finished output: each row of the input in a shard of its own, the last one rejected."""

    def make(name: str = "out", rows: int = 3, license_id: str | None = None, run: str = "a") -> Path:
        kept = rows - 1
        source = plan_for().input.model_copy(update={"rows": rows, "license": license_id})
        scorer = {"name": run, "kind": "rule", "form": "value", "fingerprint": "beef"}
        plan = plan_for(input=source, scorer=scorer)
        output = OutputDirectory.create(tmp_path / name, plan, resume=False)
        schemas = {"data": pa.schema([*INPUT_SCHEMA, *data_schema(SIDES)]), "scores": scores_schema(SIDES)}
        files = []
        for row in range(kept):
            one = data_row(row) | {"prompt": f"Frage {run} {row}", "asr_notes": []}
            tables = {
                f"{config}/train-{row:05}.parquet": (
                    schemas[config],
                    [pa.Table.from_pylist([one if config == "data" else score_row(row)], schemas[config])],
                )
                for config in schemas
            }
            if row == 0:
                reject = {"asr_row": kept, "code": "empty_prompt", "message": "the prompt is empty"}
                tables["rejects/train.parquet"] = (
                    REJECTS_SCHEMA,
                    [pa.Table.from_pylist([reject], REJECTS_SCHEMA)],
                )
            files += output.commit_shard("mask", row, tables).files
        manifest = manifest_for(
            files, plan, counts={"rows": rows, "annotated": kept, "rejected": 1, "rejects": {"empty_prompt": 1}}
        )
        output.finish(manifest, dataset_card(manifest, schemas["data"]))
        return output.path

    return make


@pytest.fixture
def directory(make_output: MakeOutput) -> Path:
    return make_output()


def content(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
