"""The trainers in two processes (accelerate, gloo): loss and gradients are those of all rows in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from .conftest import masked_logp, token_logps
from .test_rejection_sampling import unpaired

ROOT = Path(__file__).parents[2]
SIDES = ("chosen", "rejected")


@pytest.fixture(scope="module")
def rows(pair_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Four pairs, each side of which keeps something."""
    return [row for row in pair_rows if all(any(row[f"{side}_mask"]) for side in SIDES)]


@pytest.fixture(scope="module")
def folder(policy: Path, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes found, the policy, and a reference that differs from it."""
    folder = tmp_path_factory.mktemp("processes")
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder / "policy")
    model.save_pretrained(folder / "policy")
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    model.save_pretrained(folder / "reference")
    (folder / "rows.json").write_text(json.dumps(rows))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("worker.py")), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """By process."""
    return [torch.load(folder / f"found-{rank}.pt") for rank in range(2)]


def preferences(policy: Any, reference: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    losses = []
    for row in rows:
        with torch.no_grad():
            base = [masked_logp(reference, row, side) for side in SIDES]
        chosen, rejected = (masked_logp(policy, row, side) - ref for side, ref in zip(SIDES, base, strict=True))
        losses.append(-logsigmoid(0.1 * (chosen - rejected)))
    return torch.stack(losses).mean()


def likelihood(policy: Any, _: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """Over all kept tokens of both processes, though these have different numbers of them."""
    total: torch.Tensor = -sum(masked_logp(policy, row, "chosen") for row in rows)
    return total / sum(sum(row["chosen_mask"]) for row in rows)


def verdicts(policy: Any, reference: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """Each process has four responses; the KL estimate is over those of both, mismatched within each."""
    responses = unpaired(rows)
    mixed = [
        row | {name: responses[4 * (i // 4) + (i - 1) % 4][name] for name in ("completion_ids", "completion_mask")}
        for i, row in enumerate(responses)
    ]
    with torch.no_grad():
        base = [masked_logp(reference, row, "completion") for row in responses]
        gaps = [masked_logp(policy, row, "completion") - masked_logp(reference, row, "completion") for row in mixed]
    z = torch.stack(gaps).mean().clamp(min=0)
    losses = [
        1 - torch.sigmoid((1 if row["label"] else -1) * 0.1 * (masked_logp(policy, row, "completion") - ref - z))
        for row, ref in zip(responses, base, strict=True)
    ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    [("dpo", preferences), ("dpo-shared", preferences), ("kto", verdicts), ("rs", likelihood)],
)
def test_a_step_is_that_of_one_process(
    kind: str,
    by_hand: Callable[..., torch.Tensor],
    found: list[dict[str, Any]],
    folder: Path,
    rows: list[dict[str, Any]],
) -> None:
    if kind not in found[0]:
        pytest.skip("needs TRL 1.16 or later: pip install 'trl>=1.16'")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32) for name in ("policy", "reference")
    )
    expected = by_hand(policy, reference, rows)
    expected.backward()
    largest = max(float(parameter.grad.abs().max()) for parameter in policy.parameters())
    assert largest > 0.01
    for one in (process[kind] for process in found):
        assert (one["processes"], one["backend"]) == (2, "gloo")
        assert one["loss"] == pytest.approx(float(expected.detach()), abs=1e-6)
        for name, parameter in policy.named_parameters():
            # A difference of weights of size 1 is known to about 1e-7.
            torch.testing.assert_close(one["gradients"][name], parameter.grad, atol=1e-6 * max(1, largest), rtol=0)


def test_a_group_in_two_processes_has_one_baseline(found: list[dict[str, Any]], folder: Path) -> None:
    """The reward is the number of characters, in every token; the baseline is the mean of all four completions."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    outputs = [process["grpo"] for process in found]
    valid = [mask.bool() for output in outputs for mask in output["completion_mask"]]
    ids = [row[own].tolist() for row, own in zip((i for o in outputs for i in o["completion_ids"]), valid, strict=True)]
    lengths = torch.tensor([len(tokenizer.decode(row, skip_special_tokens=True)) for row in ids]).double()
    better = torch.cat([output["advantages"] for output in outputs]) > 0
    agrees = (lengths > lengths.mean()) == better
    masks = [mask.bool() for output in outputs for mask in output["tool_mask"]]
    for mask, own, kept in zip(masks, valid, agrees.tolist(), strict=True):
        assert torch.equal(mask, own & kept)
    total = sum(int(own.sum()) for own, kept in zip(valid, agrees.tolist(), strict=True) if kept)
    assert [output["kept"] for output in outputs] == [total, total]
    assert 0 < int(agrees.sum()) < 4
    assert len(set(lengths[:2].tolist()) | set(lengths[2:].tolist())) > 1


def everything(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The completions of both processes in one list."""
    listed = []
    for process in found:
        [noted] = process[kind]["sampled"]
        for i, prompt in enumerate(noted["prompts"]):
            own = {name: noted[name][i] for name in ("ids", "valid", "mask", "preferred", "group")}
            listed.append({"prompt": prompt, **own})
    return listed


def sampled_sums(policy: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> list[torch.Tensor]:
    """Σ w log π of each completion."""
    sums = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = row["ids"][row["valid"].bool()].tolist()
        sums.append((token_logps(policy, prompt + ids)[len(prompt) :] * row["mask"][: len(ids)]).sum())
    return sums


def online_preferences(sums: list[torch.Tensor], rows: list[dict[str, Any]]) -> torch.Tensor:
    """The reference is the policy of before: its sums are the policy's, without a gradient."""
    losses = []
    for group in {int(row["group"]) for row in rows}:
        pair = [i for i, row in enumerate(rows) if int(row["group"]) == group]
        chosen, rejected = sorted(pair, key=lambda i: not rows[i]["preferred"])
        margin = (sums[chosen] - sums[chosen].detach()) - (sums[rejected] - sums[rejected].detach())
        losses.append(-logsigmoid(0.1 * margin))
    assert len(losses) == 4
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["online-dpo", "online-rs"])
def test_an_online_step_is_that_of_one_process(kind: str, found: list[dict[str, Any]], folder: Path) -> None:
    """Weights are by the mean distance over the completions of both processes, and the loss is over all of them."""
    if kind not in found[0]:
        pytest.skip("needs TRL 1.16: pip install 'trl==1.16'")
    policy = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32)
    rows = everything(found, kind)
    assert len(rows) == 8
    sums = sampled_sums(policy, AutoTokenizer.from_pretrained(folder / "policy"), rows)
    total = sum(float(row["mask"].sum()) for row in rows)
    if kind == "online-dpo":
        assert total == pytest.approx(sum(int((row["mask"] > 0).sum()) for row in rows), rel=1e-5)  # a mean of 1
        expected = online_preferences(sums, rows)
    else:
        assert sorted(int(row["group"]) for row in rows if row["preferred"]) == [0, 1]
        best = [own for own, row in zip(sums, rows, strict=True) if row["preferred"]]
        weights = sum(float(row["mask"].sum()) for row in rows if row["preferred"])
        expected = -torch.stack(best).sum() / weights
    expected.backward()
    largest = max(float(parameter.grad.abs().max()) for parameter in policy.parameters())
    assert largest > 0.001
    for process in found:
        assert process[kind]["loss"] == pytest.approx(float(expected.detach()), abs=1e-4)  # logged with 4 digits
        for name, parameter in policy.named_parameters():
            torch.testing.assert_close(
                process[kind]["gradients"][name], parameter.grad, atol=2e-6 * max(1, largest), rtol=1e-4
            )
