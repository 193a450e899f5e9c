"""The script behind the paper's table 1: its list of benchmarks, its table, its resuming, its errors."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.paper.table1 import __main__ as script
from examples.paper.table1.benchmarks import COLUMNS, PAPER, Benchmark, chosen_benchmarks
from examples.paper.table1.harness import Harness
from examples.paper.table1.report import table

HARNESS = Harness("lm_eval", "cpu")
FAKE = """#!{python}
import json, sys
from pathlib import Path
arguments = sys.argv[1:]
with Path({calls!r}).open("a") as calls:
    calls.write(" ".join(arguments) + "\\n")
task = arguments[arguments.index("--tasks") + 1]
if arguments[0] == "validate":
    print("Tasks not found: ['nonsense']" if "nonsense" in task else "All tasks found and valid")
    sys.exit("nonsense" in task)
if "broken" in task:
    sys.exit("out of memory")
output = Path(arguments[arguments.index("--output_path") + 1]) / "model"
output.mkdir(parents=True)
(output / "results_1.json").write_text(json.dumps({{"results": {{task: {{"acc,none": 0.25, "alias": task}}}}}}))
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A program in place of the harness; it notes its calls in ``calls``."""
    program = tmp_path / "bin" / "lm_eval"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable, calls=str(tmp_path / "calls")))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def put(results: Path, method: str, one: Benchmark, value: float) -> None:
    path = results / method / f"{one.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"task": one.task, "shots": one.shots, "metric": one.metric, "value": value}))


def test_benchmarks_and_shots() -> None:
    assert {one.name: one.shots for one in PAPER if one.shots} == {"HumanEval": 3}
    assert [one.name for one in PAPER if not one.shots_known] == ["C-Eval", "C3"]
    assert [one.name for one in PAPER if HARNESS.skipped(one)] == ["C3", "HumanEval"]
    assert len(PAPER) == 12
    assert {len(one.paper) for one in PAPER} == {len(COLUMNS)}


def test_the_papers_numbers_have_the_papers_means() -> None:
    means = [sum(one.paper[i] for one in PAPER) / 12 for i in range(len(COLUMNS))]
    said = (0.7945, 0.8026, 0.8110, 0.7923, 0.8044, 0.7861, 0.8052)  # its last row, cut after four places
    assert means == pytest.approx(said, abs=1e-4)


def test_the_table_by_hand(tmp_path: Path) -> None:
    both = chosen_benchmarks("MMLU,C3,Own", ["Own=own:2"])
    for place, method in enumerate(COLUMNS):
        put(tmp_path, method, both[2], place / 10)
    put(tmp_path, "base", both[0], 0.5)
    assert table(tmp_path, both, HARNESS).splitlines() == [
        "| benchmark | task | shots | base | +DPO | +ADPO | +PPO | +APPO | +RS | +ARS |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        "| MMLU | mmlu | 0 | 0.5000 (0.6627) | — (0.6617) | — (0.6636) | — (0.6647) | — (0.6886) | — (0.6686) "
        "| — (0.7010) |",
        "| C3 | — | 0? | — (0.9170) | — (0.9157) | — (0.9189) | — (0.9176) | — (0.9193) | — (0.9238) | — (0.9394) |",
        "| Own | own | 2 | 0.0000 (—) | 0.1000 (—) | 0.2000 (—) | 0.3000 (—) | 0.4000 (—) | 0.5000 (—) | 0.6000 (—) |",
        "| mean of 1 that all methods have | | | 0.0000 (—) | 0.1000 (—) | 0.2000 (—) | 0.3000 (—) | 0.4000 (—) "
        "| 0.5000 (—) | 0.6000 (—) |",
        "",
        "Ours, and the paper's in brackets.",
        "",
        "- C3: not run: the harness has no such task; --task C3=TASK names one of yours",
        "- C3: the paper's text at hand does not say the shots",
    ]


def test_a_result_of_other_shots_is_not_put_into_the_table(tmp_path: Path) -> None:
    (one,) = chosen_benchmarks("MMLU", [])
    put(tmp_path, "ars", one, 0.5)
    with pytest.raises(SystemExit, match=r"ars/MMLU.json was made with another task, shots or metric"):
        table(tmp_path, chosen_benchmarks("MMLU", ["MMLU=mmlu:5"]), HARNESS)


def test_given_tasks() -> None:
    (one,) = chosen_benchmarks("C3", ["C3=my_c3:1:acc_norm,none"])
    assert (one.task, one.shots, one.metric, one.paper[0]) == ("my_c3", 1, "acc_norm,none", 0.9170)
    with pytest.raises(SystemExit, match="unknown benchmark Mmlu; there are C-Eval, C3, MMLU"):
        chosen_benchmarks("Mmlu", [])
    for wrong in ("C3", "C3=", "=x", "C3=x:many"):
        with pytest.raises(SystemExit, match=f"--task {wrong}: give NAME=TASK"):
            chosen_benchmarks(None, [wrong])


def test_without_the_harness_its_installation_is_named_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no program 'no-such-lm-eval'.*pip install 'lm-eval\[hf\]'.*--lm-eval"):
        script.main(["-o", str(tmp_path / "work"), "--lm-eval", "no-such-lm-eval", "--data", "x.jsonl"])
    assert not (tmp_path / "work").exists()


def test_an_unknown_task_is_said_before_anything_is_done(tmp_path: Path, fake: Path) -> None:
    asked = ["--benchmarks", "MMLU,Own", "--task", "Own=nonsense", "--lm-eval", str(fake)]
    with pytest.raises(SystemExit, match=r"does not know all of the tasks mmlu, nonsense(.|\n)*not found"):
        script.main(["-o", str(tmp_path / "work"), *asked])
    assert not (tmp_path / "work").exists()


def test_missing_data(tmp_path: Path, fake: Path) -> None:
    asked = ["-o", str(tmp_path / "work"), "--lm-eval", str(fake), "--benchmarks", "MMLU"]
    with pytest.raises(SystemExit, match="--data: name a file or a Hub id"):
        script.main(asked)
    with pytest.raises(SystemExit, match=r"gone.jsonl"):
        script.main([*asked, "--data", str(tmp_path / "gone.jsonl")])


def test_what_has_a_result_is_not_repeated(tmp_path: Path, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_training(_: Any) -> None:
        """Its stages look for their own files."""

    monkeypatch.setattr(script, "_train", no_training)
    work = tmp_path / "work"
    (one,) = chosen_benchmarks("MMLU", [])
    for method in list(COLUMNS)[:-1]:
        put(work / "results", method, one, 0.75)
    asked = ["-o", str(work), "--lm-eval", str(fake), "--benchmarks", "MMLU"]
    for _ in range(2):
        script.main(asked)
    ran = [call for call in (tmp_path / "calls").read_text().splitlines() if call.startswith("run ")]
    assert len(ran) == 1
    assert f"pretrained={work}/checkpoints/ars --tasks mmlu --num_fewshot 0 " in ran[0]
    row = (work / "table1.md").read_text().splitlines()[2]
    assert row.startswith("| MMLU | mmlu | 0 | 0.7500 (0.6627) |")
    assert row.endswith("| 0.2500 (0.7010) |")


def test_stages_with_a_file_are_skipped(tmp_path: Path) -> None:
    """Nothing is loaded: none of the inputs is there."""
    pytest.importorskip("peft", reason="needs peft: pip install 'asr-data[train]'")
    from examples.paper.table1 import stages
    from examples.training_study.run import Settings

    settings = Settings(policy="no-such/policy", scorer="no-such/scorer")
    (tmp_path / "trained").mkdir()
    (tmp_path / "bundle").mkdir()
    made = [tmp_path / name for name in ("prompts.jsonl", "pairs.jsonl", "bundle/train.parquet", "trained/dpo.json")]
    for path in made:
        path.write_text("made")
    stages.make_prompts(["gone.jsonl"], 1, made[0])
    stages.make_pairs(made[0], settings, "cpu", made[1])
    stages.make_bundle(made[1], settings, "cpu", tmp_path / "annotated", tmp_path / "bundle")
    stages.make_checkpoints(tmp_path / "bundle", settings, ["dpo"], "cpu", tmp_path)
    assert {path.read_text() for path in made} == {"made"}


def test_prompts_of_prm800k_and_helpsteer(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs peft: pip install 'asr-data[train]'")
    from examples.paper.table1.files import read_lines
    from examples.paper.table1.stages import make_prompts

    scores = dict.fromkeys(("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 2)
    steps = [{"completions": [{"text": "Two.", "rating": 1, "flagged": False}], "chosen_completion": 0}]
    steps[0]["human_completion"] = None
    prm = {"question": {"problem": "1+1?", "ground_truth_answer": "2"}, "label": {"steps": steps}}
    prm["label"]["finish_reason"] = "solution"
    helpsteer = [{"prompt": prompt, "response": "Me.", **scores} for prompt in ("Who?", "Who?", "Why?", "When?")]
    inputs = [tmp_path / "prm800k.jsonl", tmp_path / "helpsteer.jsonl"]
    for path, records in zip(inputs, ([prm], helpsteer), strict=True):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    make_prompts([str(path) for path in inputs], 2, tmp_path / "prompts.jsonl")
    found = [entry["prompt"] for entry in read_lines(tmp_path / "prompts.jsonl")]
    assert found == [[{"role": "user", "content": text}] for text in ("1+1?", "Who?", "Why?")]


def test_failures_of_the_harness(tmp_path: Path, fake: Path) -> None:
    harness = Harness(str(fake), "cpu")
    with pytest.raises(SystemExit, match=r"failed with broken, status 1:\nout of memory"):
        harness.measure(tmp_path, Benchmark("Own", "broken"), tmp_path / "a.json")
    with pytest.raises(SystemExit, match="own: no result 'f1,none'; there are: acc,none"):
        harness.measure(tmp_path, Benchmark("Own", "own", "f1,none"), tmp_path / "b.json")
    assert not list(tmp_path.glob("*.json"))


def test_code_is_run_only_where_that_is_permitted(tmp_path: Path, fake: Path) -> None:
    (one,) = chosen_benchmarks("HumanEval", [])
    assert "--allow-code" in (HARNESS.skipped(one) or "")
    harness = Harness(str(fake), "cpu", allow_code=True)
    assert harness.skipped(one) is None
    with pytest.raises(SystemExit, match="no result 'pass@1,create_test'"):
        harness.measure(tmp_path, one, tmp_path / "c.json")
    assert "--confirm_run_unsafe_code" in (tmp_path / "calls").read_text()
