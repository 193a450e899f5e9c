"""Time and peak memory of frames, queries and ``filter`` at 100,000 rows and at a million: it must not grow with them.

    python -m benchmarks.tables [--rows 100000 1000000]

The directory holds one annotated shard of 10,000 rows over and over, with rows numbered on. Each task is a process of
its own. Prints a Markdown table; the peak is ``VmHWM``, the resident high-water mark since the process began, where
``ru_maxrss`` counts what its parent held when it was started. The first line is what imports alone take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SHARD = 10_000

SQL = {
    "query: mean margin by topic": "SELECT topic, avg(margin) AS m, count(*) AS n FROM rows GROUP BY topic",
    "query: ten worst segments as text": "SELECT asr_row, text, reward FROM segments ORDER BY reward LIMIT 10",
    "query: kept tokens by side": "SELECT side, avg(CASE WHEN keep THEN 1.0 ELSE 0.0 END) k FROM tokens GROUP BY side",
    "query: one row's tokens": "SELECT position, reward FROM tokens WHERE asr_row = 77777",
}


def one_shard(folder: Path) -> Path:
    """An annotated directory of one shard."""
    from asr_data.pipeline import run
    from asr_data.rows import detect, first_records, open_source
    from benchmarks.memory import FreeScorer, tokenizer

    path = folder / "in.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(SHARD):
            words = f"word {number} and word {number * 7919 % 10007}, as was said. "
            row = {
                "prompt": f"Question {number}?",
                "chosen": words * 4,
                "rejected": f"{words * 3}Not so: {number % 13}.",
            }
            file.write(json.dumps({**row, "topic": ("code", "maths", "talk")[number % 3]}) + "\n")
    source, policy = open_source(path), tokenizer()
    layout = detect(source.schema, first_records(source))
    run(source, layout, folder / "one", FreeScorer(policy), policy)
    return folder / "one"


def many_rows(one: Path, path: Path, rows: int) -> None:
    """The shard's rows over and over, as an output directory of its own."""
    from asr_data.storage import Counts, Manifest, open_output
    from asr_data.storage.card import dataset_card
    from asr_data.storage.output import OutputDirectory

    before = open_output(one)
    record = before.manifest.input.model_copy(update={"rows": rows})
    plan = before.manifest.plan.model_copy(update={"input": record})
    output = OutputDirectory.create(path, plan)
    tables = {config: pq.read_table(one / f"{config}/train-00000.parquet") for config in ("data", "scores")}
    files: list[Any] = []
    for index in range(rows // SHARD):
        numbered: dict[str, Any] = {}
        for config, table in tables.items():
            numbers = pa.array(range(index * SHARD, (index + 1) * SHARD), pa.int64())
            found = table.set_column(table.schema.get_field_index("asr_row"), table.schema.field("asr_row"), numbers)
            if config == "data":
                run = pa.array([plan.run_id] * SHARD, pa.string())
                found = found.set_column(table.schema.get_field_index("asr_run"), table.schema.field("asr_run"), run)
            numbered[f"{config}/train-{index:05d}.parquet"] = (found.schema, [found])
        files += output.commit_shard("copy", index, numbered).files
    rejects = pq.read_table(one / "rejects/train.parquet")
    files += output.commit_shard("rejects", 0, {"rejects/train.parquet": (rejects.schema, [rejects])}).files
    counts = Counts(rows=rows, annotated=rows, rejected=0)
    version = before.manifest.asr_data_version
    manifest = Manifest.of(
        plan, asr_data_version=version, counts=counts, files=files, statistics=before.manifest.statistics
    )
    output.finish(manifest, dataset_card(manifest, before.schema()))


def _summary(path: Path, out: Path) -> None:
    import asr_data

    frame: Any = asr_data.frame(path)
    frame.asr.summary().sink_parquet(out.with_suffix(".parquet"), engine="streaming")


def _query(sql: str) -> Callable[[Path, Path], None]:
    def ask(path: Path, _out: Path) -> None:
        from asr_data.tables import query, results

        for _ in results.batches(query(path, sql)):
            pass

    return ask


def _filter(path: Path, out: Path) -> None:
    from asr_data.tables import filter_rows

    filter_rows(path, out, where="margin > 0 AND kept_chosen > 0.2")


def _nothing(_path: Path, _out: Path) -> None:
    import polars  # noqa: F401 - what every task imports


TASKS: dict[str, Callable[[Path, Path], None]] = {
    "imports alone": _nothing,
    "frame: summary to Parquet": _summary,
    **{name: _query(sql) for name, sql in SQL.items()},
    "filter: half of the rows": _filter,
}


def _peak() -> float:
    """MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def main() -> None:
    """Run the benchmark, or one task of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--task")
    parser.add_argument("--path", type=Path)
    arguments = parser.parse_args()
    if arguments.task is not None:
        import asr_data.tables  # noqa: F401 - not part of what is measured

        with tempfile.TemporaryDirectory(dir=arguments.path.parent) as folder:
            started, used = time.perf_counter(), time.process_time()
            TASKS[arguments.task](arguments.path, Path(folder) / "out")
            seconds, cpu = time.perf_counter() - started, time.process_time() - used
        print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": _peak()}))
        return
    print("| task | rows | seconds | CPU seconds | rows/s | peak MiB |\n|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="tables-") as folder:
        one = one_shard(Path(folder))
        for rows in arguments.rows:
            path = Path(folder) / str(rows)
            many_rows(one, path, rows)
            for task in TASKS:
                command = [sys.executable, "-m", "benchmarks.tables", "--task", task, "--path", str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                figures = f"{found['seconds']:.1f} | {found['cpu']:.1f} | {rows / found['seconds']:,.0f}"
                print(f"| {task} | {rows:,} | {figures} | {found['peak']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
