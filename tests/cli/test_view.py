"""``view`` from words to the server, and what it prints."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import asr_data.view.server.serve
from asr_data.config import (
    BoundaryWeights,
    DatasetBaseline,
    Fixed,
    MaskConfig,
    Optimal,
    Pivot,
    RunningBaseline,
    Schmitt,
    ShareWeights,
    SoftWeights,
    Step,
    Token,
)
from asr_data.storage import open_output
from asr_data.view.server.keep import SettingsFile
from asr_data_cli.app import build_app
from asr_data_cli.setting_text import mask_text


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def serve(paths: Any, *, ready: Any, **options: Any) -> None:
        made.append({"paths": paths, **options})
        ready("http://127.0.0.1:8000/?token=secret")

    monkeypatch.setattr(asr_data.view.server.serve, "serve", serve)
    return made


def call(*words: str) -> Result:
    return CliRunner().invoke(build_app(), ["view", *words], env={"COLUMNS": "100"})


def test_defaults(calls: list[dict[str, Any]]) -> None:
    result = call("annotated", "--annotator", "anna")
    assert result.exit_code == 0
    assert result.output == "http://127.0.0.1:8000/?token=secret\nCtrl-C ends it.\n"
    [made] = calls
    assert (made["paths"], made["host"], made["port"], made["gold"]) == ([Path("annotated")], "127.0.0.1", 0, None)
    assert (made["labelling"].path, made["labelling"].annotator) == (Path("labels.jsonl"), "anna")
    assert made["keeping"].path == Path("run.yaml")


def test_another_address_is_warned_of(calls: list[dict[str, Any]]) -> None:
    result = call("a", "b", "--host", "0.0.0.0", "--allow-host", "box.lan", "--kinds", "style, fact")  # noqa: S104
    assert "can be reached from other machines" in result.output
    [made] = calls
    assert (made["hosts"], made["labelling"].kinds) == (["box.lan"], ("style", "fact"))


def test_wrong_words(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    assert call("a", "--kinds", "x,x").exit_code == 2
    assert call("a", "--annotator", " ").exit_code == 2
    assert call("a", "--port", "70000").exit_code == 2
    assert call().exit_code == 2
    assert calls == []


KEPT = [
    MaskConfig(),
    MaskConfig(segmenter=Schmitt(delta="auto", k=1.5), baseline=-0.25, noise="response", end_token="mask"),  # noqa: S106
    MaskConfig(segmenter=Schmitt(delta=0.125), baseline=DatasetBaseline(statistic=0.3), detrend=True),
    MaskConfig(segmenter=Pivot(tau=0.5), baseline=RunningBaseline(decay=0.95), segment_reward="last"),
    MaskConfig(segmenter=Optimal(penalty="bic", boundary=BoundaryWeights(word=50, clause=10)), on_empty="keep-best"),
    MaskConfig(segmenter=Step(), baseline="sequence", sequence_reward="last", unknown="drop"),
    MaskConfig(segmenter=Fixed(length=3), weights=ShareWeights(share=0.25)),
    MaskConfig(segmenter=Token(), weights=SoftWeights(high=2.0)),
]


@pytest.mark.parametrize("config", KEPT, ids=lambda config: config.segmenter.kind)
def test_settings_that_were_kept_are_those_of_mask_and_run(
    config: MaskConfig, tmp_path: Path, make_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_tokenizer().hf.save_pretrained("policy")
    rows = [{"prompt": "q", "chosen": f"good words, {n}. Here.", "rejected": f"bad words. {n} there"} for n in range(9)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    program = ["--kind", "diff", "--tokenizer", "policy", "--device", "cpu"]
    assert CliRunner().invoke(build_app(), ["run", "pairs.jsonl", "-o", "first", *program]).exit_code == 0
    kept = SettingsFile(tmp_path / "run.yaml", mask_text)
    kept.keep(config, replace=False)
    command = shlex.split(kept.command(config, Path("first"), Path("typed")))
    assert command[0] == "asr-annotate"
    for words in (
        ["mask", "first", "-o", "masked", "--config", "run.yaml"],
        ["run", "pairs.jsonl", "-o", "ran", *program, "--config", "run.yaml"],
        command[1:],
    ):
        result = CliRunner().invoke(build_app(), words)
        assert result.exit_code == 0, result.output
    for name in ("masked", "ran", "typed"):
        assert open_output(Path(name)).manifest.mask == config
