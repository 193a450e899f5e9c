"""lm-evaluation-harness as a program of its own: one call and one result file for each model and benchmark."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .benchmarks import Benchmark
from .files import write_json

INSTALL = "pip install 'lm-eval[hf]'"


@dataclass(frozen=True, slots=True)
class Harness:
    """How it is called.

    Attributes:
        command: ``lm_eval``, or its path in another environment.
        device: as it names devices.
        options: more of its own options, such as ``--limit 100`` or ``--apply_chat_template``.
        include: a directory with tasks of your own.
        allow_code: whether HumanEval may run what the model writes.
    """

    command: str
    device: str
    options: str = ""
    include: Path | None = None
    allow_code: bool = False

    def skipped(self, benchmark: Benchmark) -> str | None:
        """Why a benchmark is not run; None if it is."""
        if benchmark.task is None:
            return f"the harness has no such task; --task {benchmark.name}=TASK names one of yours"
        if benchmark.runs_code and not self.allow_code:
            return "it runs the code that the model writes; --allow-code permits that"
        return None

    def check(self, benchmarks: Sequence[Benchmark]) -> None:
        """Before anything is trained: is it there, and does it know the tasks?

        Raises:
            SystemExit: it is not, or it does not.
        """
        program = shlex.split(self.command)
        if not program or shutil.which(program[0]) is None:
            raise SystemExit(
                f"no program {self.command!r}. lm-evaluation-harness may be installed in any environment: {INSTALL}; "
                "then --lm-eval PATH/TO/bin/lm_eval"
            )
        tasks = [one.task for one in benchmarks if one.task and self.skipped(one) is None]
        if tasks:
            done = self._call(["validate", "--tasks", ",".join(tasks), *self._included()])
            if done.returncode:
                raise SystemExit(
                    f"{self.command} does not know all of the tasks {', '.join(tasks)} (--include-path names a "
                    f"directory with tasks of yours):\n{_tail(done)}"
                )

    def measure(self, checkpoint: Path, benchmark: Benchmark, output: Path) -> None:
        """Write a benchmark's result, unless it is there.

        Raises:
            SystemExit: the harness failed, or its result has not the metric.
        """
        if output.exists() or benchmark.task is None:
            return
        raw = output.with_suffix("")
        done = self._call(
            ["run", "--model", "hf", "--model_args", f"pretrained={checkpoint}", "--tasks", benchmark.task]
            + ["--num_fewshot", str(benchmark.shots), "--device", self.device, "--output_path", str(raw)]
            + (["--confirm_run_unsafe_code"] if benchmark.runs_code else [])
            + [*self._included(), *shlex.split(self.options)],
            {"HF_ALLOW_CODE_EVAL": "1"} if benchmark.runs_code else {},
        )
        files = sorted(raw.rglob("results_*.json"))
        if done.returncode or not files:
            raise SystemExit(f"{self.command} failed with {benchmark.task}, status {done.returncode}:\n{_tail(done)}")
        results = json.loads(files[-1].read_text(encoding="utf-8"))["results"].get(benchmark.task, {})
        value = results.get(benchmark.metric)
        if not isinstance(value, int | float):
            there = ", ".join(key for key, found in results.items() if isinstance(found, int | float)) or "none"
            raise SystemExit(f"{benchmark.task}: no result {benchmark.metric!r}; there are: {there}")
        record = {"task": benchmark.task, "shots": benchmark.shots, "metric": benchmark.metric, "value": value}
        write_json(output, record)

    def _included(self) -> list[str]:
        return [] if self.include is None else ["--include_path", str(self.include)]

    def _call(self, arguments: Sequence[str], environment: dict[str, str] | None = None) -> Any:
        return subprocess.run(
            [*shlex.split(self.command), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {})},
        )


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
