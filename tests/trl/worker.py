"""One of the processes of ``test_processes.py``: a step of each trainer, for real. Not a test.

    torchrun --standalone --nproc-per-node 2 worker.py FOLDER

Weights before and after one step of gradient descent at rate 1 give the gradient. So what is compared is what training
did with batches in shards, gradients averaged by accelerate, and losses gathered for the log.
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from asr_data.scoring.protocol import ScorerInfo
from asr_data.scoring.rule import RuleScorer
from asr_data.trl import (
    AdaptiveDPOTrainer,
    AdaptiveGRPOTrainer,
    AdaptiveKTOTrainer,
    AdaptiveOnlineRSTrainer,
    AdaptiveRSTrainer,
)

STEPS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "dpo": (AdaptiveDPOTrainer, trl.DPOConfig, {}),
    "dpo-shared": (AdaptiveDPOTrainer, trl.DPOConfig, {"share_prefix": True}),
    "kto": (AdaptiveKTOTrainer, trl.KTOConfig, {}),
    "rs": (AdaptiveRSTrainer, trl.SFTConfig, {}),
}
if not hasattr(trl.trainer.dpo_trainer, "add_fused_lm_head"):
    del STEPS["dpo-shared"]  # needs TRL 1.16
# The name in transformers 5.23, and the one before.
CHECKPOINTING = (
    "activation_checkpointing" if hasattr(trl.DPOConfig, "activation_checkpointing") else "gradient_checkpointing"
)
PROMPT = [{"role": "user", "content": "Name a colour."}]


def settings(folder: Path) -> dict[str, Any]:
    """Of every trainer here."""
    return {
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_steps": 1,
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        CHECKPOINTING: False,
        "dataloader_pin_memory": False,
    }


def model(folder: Path, name: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)


def step(kind: str, folder: Path) -> dict[str, Any]:
    """Loss and gradient of one step over all rows, half of them in each process."""
    trainer_class, config, own = STEPS[kind]
    rows = Dataset.from_list(json.loads((folder / "rows.json").read_text()))
    args = config(**settings(folder), per_device_train_batch_size=len(rows) // (1 if kind == "kto" else 2))
    if kind != "rs":
        own = {**own, "ref_model": model(folder, "reference")}
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    trainer = trainer_class(
        model=model(folder, "policy"), args=args, train_dataset=rows, processing_class=tokenizer, **own
    )
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    return {
        "processes": trainer.accelerator.num_processes,
        "backend": torch.distributed.get_backend(),
        "loss": next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
        "gradients": {name: value - after[name].detach() for name, value in before.items()},
    }


def length(_: Any, response: str) -> list[tuple[int, int, float]]:
    """The more characters, the better."""
    return [(0, len(response), float(len(response)))]


def letters(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(set(completion[0]["content"]))) for completion in completions]


def sampled(folder: Path) -> dict[str, Any]:
    """Two of the four completions of one prompt; the other process has the other two."""
    info = ScorerInfo(name="length", kind="rule", form="value", fingerprint="0" * 64)
    trainer = AdaptiveGRPOTrainer(
        model=model(folder, "policy"),
        reward_funcs=letters,
        args=trl.GRPOConfig(
            **settings(folder), per_device_train_batch_size=2, num_generations=4, max_completion_length=12
        ),
        train_dataset=Dataset.from_list([{"prompt": PROMPT}]),
        processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
        scorer=RuleScorer(length, info),
        mask={"segmenter": "sequence", "on_empty": "drop", "end_token": "segment"},
    )
    trainer.model.train()
    output = trainer._generate_and_score_completions([{"prompt": PROMPT}] * 2)
    names = ("completion_ids", "completion_mask", "tool_mask", "advantages")
    return {name: output[name] for name in names} | {"kept": int(output["num_items_in_batch"])}


QUESTIONS = ["Name a colour.", "What is 2 + 2?", "Is it open?", "Add and divide."]
MASK = {"segmenter": "token", "baseline": "pair", "on_empty": "drop", "end_token": "segment", "weights": "segment"}


def thirds(_: Any, response: str) -> list[tuple[int, int, float]]:
    """Rewards that differ within a response and between responses."""
    cuts = [0, len(response) // 3, 2 * len(response) // 3, len(response)]
    values = [len(set(response)) / 7, -1.0, float(len(response) % 5)]
    return [(a, z, value) for a, z, value in zip(cuts, cuts[1:], values, strict=False) if a < z]


def online(kind: str, folder: Path) -> dict[str, Any]:
    """A step of an on-line trainer: what this process sampled, its masks, and the gradient."""
    own: dict[str, Any] = {
        "model": model(folder, "policy"),
        "reward_funcs": letters,
        "train_dataset": Dataset.from_list([{"prompt": [{"role": "user", "content": one}]} for one in QUESTIONS]),
        "processing_class": AutoTokenizer.from_pretrained(folder / "policy"),
        "scorer": RuleScorer(thirds, ScorerInfo(name="thirds", kind="rule", form="value", fingerprint="0" * 64)),
        "mask": MASK,
    }
    if kind == "online-rs":
        args: Any = trl.GRPOConfig(
            **settings(folder), per_device_train_batch_size=4, num_generations=4, max_completion_length=12, beta=0.0
        )
        trainer: Any = AdaptiveOnlineRSTrainer(args=args, **own)
    else:
        from trl.experimental.online_dpo import OnlineDPOConfig

        from asr_data.trl import AdaptiveOnlineDPOTrainer

        args = OnlineDPOConfig(**settings(folder), per_device_train_batch_size=2, max_new_tokens=12, max_length=128)
        trainer = AdaptiveOnlineDPOTrainer(args=args, **own)
    noted: list[Any] = []
    cut = trainer._online

    def noting(sampled: Any) -> Any:
        found = cut(sampled)
        names = ("prompts", "ids", "valid", "preferred", "group")
        noted.append({name: getattr(sampled, name) for name in names} | {"mask": found[0]})
        return found

    trainer._online = noting
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    return {
        "sampled": noted,
        "loss": next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
        "gradients": {name: value - after[name].detach() for name, value in before.items()},
    }


def main() -> None:
    folder = Path(sys.argv[1])
    found = {kind: step(kind, folder) for kind in STEPS}
    found["grpo"] = sampled(folder)
    if trl.__version__.startswith("1.16."):
        found |= {kind: online(kind, folder) for kind in ("online-dpo", "online-rs")}
    torch.save(found, folder / f"found-{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
