"""The way of a user: `asr-annotate push` to a server named by HF_ENDPOINT, and `load_dataset` from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.hub.conftest import content
from tests.hub.server import TOKEN, HubServer

REPO = "me/masks"
PUSH = "from asr_data_cli.app import main; main()"
LOAD = """
import json
import datasets

loaded = datasets.load_dataset("me/masks")
assert list(loaded) == ["train"], loaded
streamed = datasets.load_dataset("me/masks", streaming=True, split="train")
scores = datasets.load_dataset("me/masks", "scores", split="train")
rejects = datasets.load_dataset("me/masks", "rejects", streaming=True, split="train", revision="v2")
found = {"loaded": loaded["train"], "streamed": streamed, "scores": scores, "rejects": rejects}
print(json.dumps({name: list(rows) for name, rows in found.items()}))
"""


def run(server: HubServer, cache: Path, code: str, *arguments: str) -> str:
    """A process of its own: both libraries read their settings when they are imported."""
    settings = {
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(directory: Path, config: str) -> list[dict[str, Any]]:
    return [row for path in sorted(directory.glob(f"{config}/*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_what_is_pushed_is_what_is_loaded(server: HubServer, directory: Path, tmp_path: Path) -> None:
    cache = tmp_path / "home"
    told = run(server, cache, PUSH, "push", str(directory), REPO)
    assert f"{len(content(directory))} files" in told
    assert server.repositories[REPO].tree().items() >= content(directory).items()
    server.steps.clear()
    told = run(server, cache, PUSH, "push", str(directory), REPO)
    assert "0 files" in told
    assert set(server.steps) == {"info", "tree"}
    run(server, cache, PUSH, "push", str(directory), REPO, "--revision", "v2")
    found = json.loads(run(server, cache, LOAD))
    assert found["loaded"] == found["streamed"] == rows(directory, "data")
    assert found["scores"] == rows(directory, "scores")
    assert found["rejects"] == rows(directory, "rejects")
