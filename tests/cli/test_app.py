from __future__ import annotations

import math
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asr_data.config import (
    BoundaryWeights,
    DatasetBaseline,
    MaskConfig,
    Optimal,
    OutputConfig,
    ScoringConfig,
)
from asr_data.errors import ConfigError, InputError
from asr_data_cli.app import build_app
from asr_data_cli.stopping import Terminated

COMMANDS = ("run", "score", "mask", "inspect", "validate", "demo", "train-scorer")


def call(*args: str) -> Result:
    return CliRunner().invoke(build_app(), list(args), env={"COLUMNS": "100"})


def test_run_with_defaults(library: Any) -> None:
    result = call("run", "pairs.jsonl", "-o", "out dir")
    assert result.exit_code == 0, result.output
    args, options = library.calls["run"]
    assert args[2] == Path("out dir")
    assert args[4].name == "own"
    assert options["scoring"] == ScoringConfig()
    assert options["mask"] == MaskConfig()
    assert options["writing"] == OutputConfig()
    assert (options["resume"], options["overwrite"]) == (False, False)
    assert library.calls["open_source"] == (
        ("pairs.jsonl",),
        {"split": None, "name": None, "revision": None, "file_format": None},
    )


def test_run_prints_what_it_found_what_came_out_and_what_is_next(library: Any) -> None:
    lines = call("run", "pairs.jsonl", "-o", "out dir").stdout
    found = lines.index("preference pairs [with] a prompt"), lines.index("builtin (token_head, gives values)")
    assert (
        "AUROC of faulty sentences, held out (position alone, shared words" in lines
    )  # what the built-in model is worth
    counts = lines.index("12 = 10 annotated + 2 rejected"), lines.index("2 rejected")
    assert max(found) < min(counts)
    assert "75.0 %" in lines  # 750 of 1,000 tokens
    assert "5.0" in lines  # 50 segments in 10 responses
    assert "200 tokens/s" in lines  # 4,000 in 20 s
    assert "asr-annotate inspect 'out dir' --sample 5" in lines


def test_run_with_options(library: Any) -> None:
    words = (
        "run data -o out --split train --name en --revision main --columns chosen=a,rejected=b "
        "--model scorer --kind token_head --tokenizer policy --dtype float32 --device cpu --batch-tokens 512 "
        "--max-length 99 --segmenter optimal --penalty paper --boundary word=50 --baseline dataset:0.3 "
        "--reward delta --sequence-reward sum --segment-reward last --noise response --on-empty drop "
        "--end-token segment --shard-rows 7 --prefix asr_ --resume"
    )
    result = call(*words.split())
    assert result.exit_code == 0, result.output
    _, options = library.calls["run"]
    assert options["scoring"] == ScoringConfig(dtype="float32", device="cpu", batch_tokens=512, max_length=99)
    assert options["mask"] == MaskConfig(
        segmenter=Optimal(penalty="paper", boundary=BoundaryWeights(word=50)),
        baseline=DatasetBaseline(statistic=0.3),
        reward="delta",
        sequence_reward="sum",
        segment_reward="last",
        noise="response",
        on_empty="drop",
        end_token="segment",  # noqa: S106 - no password
    )
    assert options["writing"] == OutputConfig(shard_rows=7, prefix="asr_")
    assert options["resume"] is True
    assert library.calls["detect"][0][2] == {"chosen": "a", "rejected": "b"}
    assert library.calls["load_scorer"][0] == ("scorer", "token_head")
    assert library.calls["load_tokenizer"][0] == ("policy",)


@pytest.mark.parametrize("command", ["run", "score"])
def test_hub_cache_and_date(command: str, library: Any) -> None:
    assert call(command, "data", "-o", "out").exit_code == 0
    options = library.calls["load_scorer"][1]
    assert (options["allow_hub"], options["cache"]) == (False, True)
    assert library.calls[command][1]["template_date"] is None
    result = call(command, "data", "-o", "out", "--allow-hub", "--no-cache", "--template-date", "2025-01-02")
    assert result.exit_code == 0, result.output
    options = library.calls["load_scorer"][1]
    assert (options["allow_hub"], options["cache"]) == (True, False)
    assert library.calls[command][1]["template_date"] == date(2025, 1, 2)


@pytest.mark.parametrize("words", ["run data", "score data", "mask scored"])
def test_a_date_that_is_none(words: str, library: Any) -> None:
    result = call(*words.split(), "-o", "out", "--template-date", "2025-02-30")
    assert (result.exit_code, "2025-02-30" in result.output) == (2, True)
    assert not library.calls


def test_score_and_mask(library: Any) -> None:
    assert call("score", "pairs.jsonl", "-o", "scored", "--overwrite").exit_code == 0
    assert library.calls["score"][1]["overwrite"] is True
    result = call("mask", "scored", "-o", "out", "--segmenter", "token")
    assert result.exit_code == 0, result.output
    args, options = library.calls["mask"]
    assert args == (Path("scored"), Path("out"), None)
    assert options["mask"].segmenter.kind == "token"


@pytest.mark.parametrize(("unknown", "said"), [("keep", "trained on whole"), ("drop", "not trained on")])
def test_responses_of_which_nothing_is_known(library: Any, unknown: str, said: str) -> None:
    side = SimpleNamespace(
        **{**vars(library.summary.sides["chosen"]), "unknown_responses": 10, "mean_reward": math.nan}
    )
    library.summary = SimpleNamespace(**{**vars(library.summary), "sides": {"chosen": side}, "unknown": unknown})
    shown = " ".join(call("run", "x", "-o", "y").stdout.split())
    assert f"10 of 10 chosen: no reward is known, {said} (--unknown {unknown})" in shown
    assert "nan" not in shown


def test_rejected_rows_are_exit_code_3_only_when_strict(library: Any) -> None:
    assert call("run", "x", "-o", "y").exit_code == 0
    assert call("run", "x", "-o", "y", "--strict").exit_code == 3
    assert call("mask", "x", "-o", "y", "--strict").exit_code == 3
    library.summary = SimpleNamespace(**{**vars(library.summary), "rejected": 0})
    assert call("run", "x", "-o", "y", "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (InputError("data.jsonl, row 3: not [an] object \x1b[2J"), 1, "row 3: not [an] object <U+001B>[2J"),
        (ConfigError("--kind is wrong"), 2, "error: --kind is wrong"),
        (RuntimeError("a bug"), 1, "error: RuntimeError: a bug"),
        (KeyboardInterrupt(), 130, "error: stopped by Ctrl-C"),
        (Terminated(), 143, "error: stopped by SIGTERM"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(library: Any, failure: BaseException, code: int, line: str) -> None:
    library.failure = failure
    result = call("run", "x", "-o", "y")
    assert result.exit_code == code
    assert line in result.stderr
    assert "Traceback" not in result.output


def test_debug_raises_the_error_itself(library: Any) -> None:
    library.failure = InputError("unreadable")
    result = call("--debug", "run", "x", "-o", "y")
    assert result.exception is library.failure


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run x", "--output"),
        ("run x -o y --segmenter spline", "spline"),
        ("run x -o y --shard-rows 0", "--shard-rows"),
        ("run x -o y --resume --overwrite", "--resume continues what is there and --overwrite deletes it"),
        ("run x -o y --tau 1", "--tau belongs to --segmenter pivot"),
        ("inspect x --row 1 --sample 2", "give one of them"),
        ("train-scorer -o y", "no training data"),
        ("train-scorer -o y x --held-out 2", "--held-out"),
        ("train-scorer -o y x:lables", "'lables' is none of preferences, labels, train, test"),
        ("bake", "bake"),
    ],
)
def test_wrong_usage_is_exit_code_2(library: Any, words: str, message: str) -> None:
    result = call(*words.split())
    assert result.exit_code == 2
    assert message in result.stderr
    assert not library.calls


def test_all_wrong_options_at_once(library: Any) -> None:
    result = call(
        *[
            "run",
            "x",
            "-o",
            "y",
            "--batch-tokens",
            "0",
            "--columns",
            "a",
            "--baseline",
            "z",
            "--delta",
            "q",
            "--resume",
            "--overwrite",
        ]
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("error: 5 options are invalid:")


def test_scorer_without_tokenizer(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = SimpleNamespace(info=SimpleNamespace(name="rules", kind="rule", form="value"), tokenizer=None)
    monkeypatch.setattr("asr_data.load_scorer", lambda *_, **__: scorer)
    result = call("run", "x", "-o", "y")
    assert result.exit_code == 2
    assert "name the policy's with --tokenizer" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_says_what_every_option_does(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"asr-annotate {command}" in result.stdout.split("Examples")[1]


def test_help_lists_every_command_and_version_is_known() -> None:
    shown = call("--help").stdout
    assert all(command in shown for command in COMMANDS)
    assert call("--version").stdout.startswith("asr-annotate ")


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from asr_data_cli.app import build_app;"
        "assert CliRunner().invoke(build_app(), ['run', '--help']).exit_code == 0;"
        "print(sorted({'torch', 'transformers', 'datasets', 'numba'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_train_scorer_builds_its_config(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pytest.importorskip("asr_data.training.run")
    seen: dict[str, Any] = {}
    figure = SimpleNamespace(
        name="pairs right", value=0.64, low=0.6, high=None, chance=0.5, length_baseline=None, items=300
    )

    def train(config: Any, output: Path, *, resume: bool, progress: Any) -> Any:
        seen.update(config=config, output=output, resume=resume)
        return SimpleNamespace(path=output, figures=(figure, replace_high(figure, 0.7)), curve=())

    monkeypatch.setattr(run, "train_scorer", train)
    words = "train-scorer d:test -o s --preference a --preference b --steps c --lora-rank 0 --resume"
    result = call(*words.split())
    assert result.exit_code == 0, result.output
    assert [str(source) for source in seen["config"].sources] == [
        "d:test",
        "a:preferences",
        "b:preferences",
        "c:labels",
    ]
    assert "will be removed in the next version; write a:preferences b:preferences c:labels" in " ".join(
        result.stderr.split()
    )
    assert seen["resume"] is True
    assert "0.600 to 0.700" in result.stdout
    # every setting is an option with the same name and default, since the report prints the command
    assert seen["config"] == type(seen["config"])(sources=seen["config"].sources, lora_rank=0)


def replace_high(figure: SimpleNamespace, high: float) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(figure), "high": high})
