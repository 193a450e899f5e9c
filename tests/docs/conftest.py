"""A directory for each page, with all that the page names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

import asr_data
import asr_data.sample
from tests.docs.blocks import SHOWN_ONLY, PageRunner, blocks_of
from tests.docs.props import FILES, copied, save_pairs, save_policy
from tests.judging.server import Asked, JudgeServer, by_goodness

JUDGE_URL = "http://localhost:8000/v1"


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    make_checkpoint: Callable[..., Path],
    make_tokenizer: Callable[..., Any],
) -> dict[str, Path]:
    """Models, and one annotated directory, made once: name on the pages to place."""
    import torch

    folder = tmp_path_factory.mktemp("made")
    head = {"score.weight": torch.linspace(-1, 1, 32)[None], "score.bias": torch.zeros(1)}
    # Two tokenizers: rewards of one model's tokens become masks over the other's.
    make_checkpoint(folder / "prm", head, {"kind": "token_head"}, kind="metaspace_bpe", longest=4096)
    save_policy(folder / "policy", make_tokenizer("byte_level"))
    save_pairs(folder / "pairs.jsonl")
    _annotate(folder)
    places = dict.fromkeys(("my-prm", "MODEL", "MODEL_DIR"), folder / "prm")
    places |= dict.fromkeys(("my-policy", "POLICY", "POLICY_DIR"), folder / "policy")
    return places | {"annotated": folder / "annotated"}


def _annotate(folder: Path) -> None:
    from asr_data import pipeline, rows, text

    source = rows.open_source(folder / "pairs.jsonl")
    layout = rows.detect(source.schema, rows.first_records(source))
    scorer, tokenizer = asr_data.load_scorer(str(folder / "prm")), text.load_tokenizer(str(folder / "policy"))
    pipeline.run(source, layout, folder / "annotated", scorer, tokenizer)


def small_builtin(model: Path) -> Callable[..., Any]:
    """``load_scorer`` with a tiny model in place of the built-in one, which ``tests/scoring/test_builtin.py`` runs."""
    load = asr_data.load_scorer

    def load_scorer(name: str | Path = "builtin", *arguments: Any, **settings: Any) -> Any:
        takes_a_model = "labels" not in (*arguments[:1], settings.get("kind"))
        return load(str(model) if name == "builtin" and takes_a_model else name, *arguments, **settings)

    return load_scorer


def judge_or_critic(asked: Asked) -> str:
    """A verdict, or what is wrong in the rejected responses of the pages' pairs."""
    response = asked.part("RESPONSE")
    if response is None:
        return by_goodness(asked)
    wrong = [word for word in ("five", "Seven", "En Italie") if word in response]
    return json.dumps({"faults": [{"quote": word, "kind": "fact", "severity": "major"} for word in wrong]})


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    with JudgeServer(judge_or_critic) as running:
        yield running


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, Path]) -> Callable[[str], Path]:
    """Gives the directory in which the blocks of a page run, with everything in it that the page's text names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as PYTHONPATH=. does
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("os.fsync", lambda _: None)  # these tests kill no machine
    few = asr_data.sample.sample_rows(1)
    monkeypatch.setattr("asr_data.sample.sample_rows", lambda _per_topic: few)  # quick

    def furnish(text: str) -> Path:
        for name, make in {**FILES, **{name: copied(place) for name, place in made.items()}}.items():
            word = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
            if re.search(word, text) and not re.search(f"-o {word}", text):
                make(tmp_path / name)
        return tmp_path

    return furnish


@pytest.fixture
def run_page(
    workplace: Callable[[str], Path],
    made: dict[str, Path],
    judge_server: JudgeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Path], dict[str, Any]]:
    """Runs every block of a page, in order, in a directory of its own; gives what the Python blocks defined."""

    def run(page: Path) -> dict[str, Any]:
        blocks = [block for block in blocks_of(page) if block.language not in SHOWN_ONLY and block.reason is None]
        folder = workplace("\n".join(block.text for block in blocks))
        if (judges := folder / "judges.json").exists():
            judges.write_text(judges.read_text(encoding="utf-8").replace(JUDGE_URL, judge_server.url), encoding="utf-8")
        monkeypatch.setattr(asr_data, "load_scorer", small_builtin(made["my-prm"]))
        runner = PageRunner(monkeypatch.setenv)
        for block in blocks:
            runner.run(replace(block, text=block.text.replace(JUDGE_URL, judge_server.url)))
        return runner.names

    return run
