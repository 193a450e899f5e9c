"""One of the processes of ``test_win_rate.py``: figures and samples of three prompts. Not a test.

torchrun --standalone --nproc-per-node 2 win_rate_worker.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.trl import AdaptiveDPOTrainer, WinRateCallback


def vowels(_: Any, response: str) -> list[tuple[int, int, float]]:
    return [(0, len(response), sum(letter in "aeiou" for letter in response) / len(response))]


def main() -> None:
    folder = Path(sys.argv[1])
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32) for name in ("policy", "reference")
    )
    rows = json.loads((folder / "rows.json").read_text())
    trainer = AdaptiveDPOTrainer(
        policy,
        ref_model=reference,
        args=trl.DPOConfig(str(folder / "out"), use_cpu=True, bf16=False, report_to="none"),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
    )
    logged: list[dict[str, float]] = []
    Trainer.log = lambda self, logs, start_time=None: logged.append(logs)  # type: ignore[method-assign]
    processes = trainer.accelerator.num_processes
    info = ScorerInfo(name="vowels", kind="rule", form="value", fingerprint="0" * 64)
    callback = WinRateCallback(
        trainer,
        [row["prompt"] for row in rows[:3]],  # two in one process, one in the other
        every=1,
        scorer=RuleScorer(vowels, info),
        max_new_tokens=8,
        generation={"do_sample": False, "temperature": None, "top_k": None, "top_p": None},
        output=folder / f"samples-{processes}",
    )
    callback._measure(1)
    trainer.accelerator.wait_for_everyone()
    lines = (folder / f"samples-{processes}" / "step-000001" / "samples.jsonl").read_text().splitlines()
    found = {**logged[0], "samples": [json.loads(line) for line in lines]}
    path = folder / f"figures-{processes}-{trainer.accelerator.process_index}.json"
    path.write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
