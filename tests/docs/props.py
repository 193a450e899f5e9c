"""What the pages speak of: small data sets and tiny models, made where a page names them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets

PAIRS = [
    ("What is 2 + 2?", "It is four. I am sure.", "It is five. I am sure."),
    ("Name a colour.", "Blue. The sky has it.", "Seven. The sky has it."),
    ("Où est Paris ?", "En France. 🇫🇷", "En Italie. 🇮🇹"),
]
TOPICS = ["maths", "words", "places"]
MARKS = [(6, 10), (0, 5), (3, 9)]
"""The faulty characters of each rejected response."""

Make = Callable[[Path], None]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def save_pairs(path: Path) -> None:
    """Conversations: prompt, chosen, rejected, and marks of what is wrong in the rejected one."""

    def messages(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    rows = [
        {
            "prompt": messages("user", prompt),
            "chosen": messages("assistant", chosen),
            "rejected": messages("assistant", rejected),
            "marks": [{"start": start, "end": end}],
            "topic": topic,
        }
        for (prompt, chosen, rejected), (start, end), topic in zip(PAIRS, MARKS, TOPICS, strict=True)
    ]
    _write(path, rows)


def save_renamed_pairs(path: Path) -> None:
    """Texts in columns with names of their own; the last row will be rejected."""
    rows = [
        {"question": prompt, "good": chosen, "bad": rejected} for prompt, chosen, rejected in [*PAIRS, ("q", "a", "")]
    ]
    datasets.Dataset.from_list(rows).to_parquet(path)


def save_feedback(path: Path) -> None:
    rows = [
        {
            "instruction": prompt,
            "completions": [
                {"response": text, "overall_score": score}
                for text, score in ((chosen, 9.0), (f"{chosen} {rejected}", 7.0), (rejected, 6.5))
            ],
        }
        for prompt, chosen, rejected in PAIRS
    ]
    _write(path, rows)


def save_ultrafeedback(path: Path) -> None:
    rows = [
        {
            "instruction": prompt,
            "completions": [
                {"response": text, "overall_score": 5.0, "fine-grained_score": score}
                for text, score in ((chosen, 4.5), (rejected, 2.0))
            ],
        }
        for prompt, chosen, rejected in PAIRS
    ]
    _write(path, rows)


def save_sums(path: Path) -> None:
    """Pairs with sums in them, of which the rejected one has a wrong one."""
    rows = [
        {"prompt": f"What is {n} + 2 and twice that?", "chosen": f"{n} + 2 = {n + 2}.", "rejected": f"{n} + 2 = {n}."}
        for n in range(3)
    ]
    _write(path, rows)


def save_answers(path: Path) -> None:
    """Answers of two models."""
    people = {"ann": "first", "bob": "first"}
    rows = [{"prompt": prompt, "tuned": chosen, "base": rejected, **people} for prompt, chosen, rejected in PAIRS]
    _write(path, rows)


def save_classes(path: Path) -> None:
    """Single answers whose verdict is a class."""
    rows = [{"prompt": prompt, "completion": chosen, "label": "correct"} for prompt, chosen, _ in PAIRS]
    rows += [{"prompt": prompt, "completion": rejected, "label": "incorrect"} for prompt, _, rejected in PAIRS]
    table = datasets.Dataset.from_list(rows)
    table.cast_column("label", datasets.ClassLabel(names=["correct", "incorrect"])).to_parquet(path)


def save_verdicts(path: Path) -> None:
    """Single answers whose verdict is a word."""
    words = [("great", "bad"), ("good", "bad"), ("good", "bad")]
    rows = [
        {"prompt": prompt, "completion": text, "label": word}
        for (prompt, *texts), verdicts in zip(PAIRS, words, strict=True)
        for text, word in zip(texts, verdicts, strict=True)
    ]
    datasets.Dataset.from_list(rows).to_csv(path)


def save_judge_prompt(path: Path) -> None:
    """The prompt that docs/judge.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "judge.md").read_text(encoding="utf-8")
    shown = page.partition("`judge-prompt.txt`:\n\n```text\n")[2].partition("```\n")[0]
    path.write_text(shown, encoding="utf-8")


def save_judges(path: Path) -> None:
    judge = {"endpoint": "http://localhost:8000/v1"}
    path.write_text(json.dumps([{**judge, "model": "one"}, {**judge, "model": "two"}]), encoding="utf-8")


def save_policy(folder: Path, tokenizer: Any) -> None:
    """A tiny language model for ``--tokenizer`` and for training."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer.hf),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)


def copied(source: Path) -> Make:
    """Makes a copy of what the session made once."""
    return lambda path: (shutil.copytree if source.is_dir() else shutil.copy)(source, path) and None


FILES: dict[str, Make] = {
    "prefs.jsonl": save_pairs,
    "pairs.jsonl": save_pairs,
    "pairs.parquet": save_renamed_pairs,
    "ultrafeedback.jsonl": save_ultrafeedback,
    "feedback.jsonl": save_feedback,
    "answers.jsonl": save_answers,
    "answers.parquet": save_classes,
    "answers.csv": save_verdicts,
    "sums.jsonl": save_sums,
    "judges.json": save_judges,
    "judge-prompt.txt": save_judge_prompt,
}
"""Name on the pages to what makes it."""
