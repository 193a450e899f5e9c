from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from asr_data.errors import StorageError
from asr_data.training.report import Figure, model_card, write_report

CONFIG = {
    "license": "apache-2.0",
    "base_model": "example/base",
    "tags": ["reward-model", "asr-data"],
    "command": "asr-annotate train-scorer -o out",
    "seed": 17,
    "learning_rate": 5e-4,
    "steps": ["a|b.jsonl"],
}
FIGURES = [
    Figure("talk: pairs right", 0.6789, 0.65, 0.7, 0.5, 0.5432, 1200, 1100),
    Figure("no interval", 0.5, None, None, None, None, 1, 1),
]
CURVE = [{"step": step, "loss": 1.0 / step} for step in range(1, 101)]


def write(directory: Path) -> None:
    write_report(directory, CONFIG, {"train talk": 2308}, {"talk: empty_text": 4}, CURVE, FIGURES)


def test_files_and_their_content(tmp_path: Path) -> None:
    write(tmp_path / "new" / "scorer")
    folder = tmp_path / "new" / "scorer"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "report.json"]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["config"] == CONFIG
    assert report["curve"] == CURVE
    assert report["data"] == {"train talk": 2308}
    assert report["skipped"] == {"talk: empty_text": 4}
    assert report["figures"][0]["length_baseline"] == 0.5432


def test_the_hub_reads_the_card(tmp_path: Path) -> None:
    write(tmp_path)
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.base_model) == ("apache-2.0", "example/base")
    assert data.tags == ["reward-model", "asr-data"]


def test_the_card_shows_figures_settings_command_seed_and_a_short_curve() -> None:
    card = model_card(CONFIG, {"train talk": 2308}, {"talk: empty_text": 4}, CURVE, FIGURES)
    assert "| talk: pairs right | 0.679 | 0.650 to 0.700 | 0.500 | 0.543 | 1,200 | 1,100 |" in card
    assert "| no interval | 0.500 | – | – | – | 1 | 1 |" in card
    assert "| train talk | 2,308 |" in card
    assert "| talk: empty_text | 4 |" in card
    assert "```sh\nasr-annotate train-scorer -o out\n```" in card
    assert "Seed: 17" in card
    assert "| learning_rate | 0.0005 |" in card
    assert '| steps | ["a\\|b.jsonl"] |' in card
    curve = card[card.index("## Loss") :].splitlines()
    assert curve[1:4] == ["", "| step | loss |", "| --- | --- |"]
    assert (curve[4], curve[-1]) == ("| 1 | 1 |", "| 100 | 0.01 |")
    assert len(curve[4:]) == 12


def test_an_empty_report_says_so() -> None:
    card = model_card({}, {}, {}, [], [])
    for sentence in ("No data was held out", "Nothing was left out.", "No step was taken."):
        assert sentence in card


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_report(tmp_path, {"seed": 2}, {}, {}, [], [])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
