"""Point 8: a run over very many short rows: memory, speed, and every row once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.faults.lab import PATH, RULE, Outcome, save_tokenizer, sentence, timed


def many_rows(folder: Path, sizes: tuple[int, ...] = (100_000, 1_000_000)) -> Outcome:
    """Runs of several sizes; the largest must need no more memory than the smallest, within a tenth."""
    outcome = Outcome("many rows")
    with timed(outcome):
        save_tokenizer(folder / "tokenizer")
        peaks = [_run(folder, rows, outcome) for rows in sizes]
        outcome.expect(peaks[-1] <= 1.1 * peaks[0], f"memory grows with the rows: {peaks} MiB for {sizes}")
    return outcome


def _run(folder: Path, rows: int, outcome: Outcome) -> float:
    name = f"rows-{rows}"
    _write(folder / f"{name}.jsonl", rows)
    command = [str(Path(sys.executable).with_name("asr-annotate")), "run", f"{name}.jsonl", *RULE, "-o", name]
    environment = {**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / 1024
    outcome.expect(process.returncode == 0, f"{name}: ended with {process.returncode}")
    outcome.count(f"rows at {rows / seconds:,.0f} rows/s, {peak:,.0f} MiB at most", rows)
    times = np.zeros(rows, dtype=np.int64)
    for file in (*sorted((folder / name / "data").iterdir()), *sorted((folder / name / "rejects").iterdir())):
        times += np.bincount(pq.read_table(file, columns=["asr_row"]).column(0).to_numpy(), minlength=rows)
    outcome.expect((times == 1).all(), f"{name}: {int((times != 1).sum())} rows are not there exactly once")
    return peak


def _write(path: Path, rows: int) -> None:
    draw = random.Random(rows)
    with path.open("w", encoding="utf-8") as file:
        for index in range(rows):
            sides = {side: sentence(draw, draw.randint(4, 12)) for side in ("chosen", "rejected")}
            file.write(json.dumps({"prompt": f"Question {index}?", **sides}) + "\n")
