"""Batches by hand, and the log-probabilities of a tiny model against a loop over single tokens."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
import torch

from asr_data.losses import adaptive_rs_loss, collate, token_logps

PAIRS: list[dict[str, Any]] = [
    {
        "prompt_ids": [11, 12],
        "chosen_ids": [21, 22, 23],
        "chosen_mask": [True, False, True],
        "chosen_ref_logp": [-1.0, -2.0, -3.0],
        "rejected_ids": [31],
        "rejected_mask": [True],
        "rejected_ref_logp": [-4.0],
        "note": "not looked at",
    },
    {
        "prompt_ids": [13],
        "chosen_ids": [24],
        "chosen_mask": [False],
        "chosen_ref_logp": [-5.0],
        "rejected_ids": [32, 33],
        "rejected_mask": [False, True],
        "rejected_ref_logp": [-6.0, -7.0],
        "note": "",
    },
]


def listed(batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {
        name: values.int().tolist() if values.dtype == torch.bool else values.tolist() for name, values in batch.items()
    }


def test_one_side_by_hand() -> None:
    assert listed(collate(PAIRS, "chosen", pad_id=9)) == {
        "input_ids": [[11, 12, 21, 22, 23], [13, 24, 9, 9, 9]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]],
        "valid": [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]],
        "mask": [[0, 0, 1, 0, 1], [0, 0, 0, 0, 0]],
        "reference_logps": [[0, 0, -1, -2, -3], [0, -5, 0, 0, 0]],
    }


def test_both_sides_stand_one_after_the_other() -> None:
    batch = collate(PAIRS)
    chosen, rejected = batch["input_ids"].chunk(2)
    assert chosen.tolist() == [[11, 12, 21, 22, 23], [13, 24, 0, 0, 0]]
    assert rejected.tolist() == [[11, 12, 31, 0, 0], [13, 32, 33, 0, 0]]
    assert batch["mask"].chunk(2)[1].int().tolist() == [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]
    assert batch["attention_mask"].dtype == batch["input_ids"].dtype == torch.int64
    assert batch["mask"].dtype == batch["valid"].dtype == torch.bool


@pytest.mark.parametrize("form", [None, "torch", "numpy", "arrow"])
def test_rows_in_every_form(form: str | None) -> None:
    rows = datasets.Dataset.from_list(PAIRS).with_format(form if form != "arrow" else None)
    expected = listed(collate(PAIRS))
    assert listed(collate([rows[i] for i in range(2)])) == expected
    if form is None:
        assert listed(collate(rows[:2])) == expected, "a slice of a data set"


def test_longer_rows_are_cut_where_that_is_asked_for() -> None:
    batch = listed(collate(PAIRS, "chosen", max_length=3))
    assert batch["input_ids"] == [[11, 12, 21], [13, 24, 0]]
    assert batch["mask"] == [[0, 0, 1], [0, 0, 0]]


def test_time_is_rounded_up() -> None:
    assert collate(PAIRS, pad_to_multiple_of=8)["input_ids"].shape == (4, 8)
    assert collate(PAIRS, pad_to_multiple_of=5)["input_ids"].shape == (4, 5)


def test_weights_and_a_prefix() -> None:
    rows = [
        {
            "x_prompt_ids": [1],
            "x_completion_ids": [2, 3],
            "x_completion_mask": [True, False],
            "x_completion_weight": [0.5, 0.0],
        },
        {
            "x_prompt_ids": [],
            "x_completion_ids": [2, 3],
            "x_completion_mask": [True, True],
            "x_completion_weight": [3.0, 2.0],
        },
    ]
    batch = collate(rows, "completion", prefix="x_")
    assert batch["weights"].tolist() == [[0, 0.5, 0], [0, 2, 0]], "nothing predicts the first token of all"
    assert batch["weights"].dtype == torch.float32
    assert "reference_logps" not in batch
    del rows[1]["x_completion_weight"]
    with pytest.raises(ValueError, match="row 1: column x_completion_weight is missing or null, and other responses"):
        collate(rows, "completion", prefix="x_")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.0, -1.0], r"is -1 at token 2; weights are finite and at least 0"),
        ([float("nan"), 0.0, 1.0], r"is nan at token 0; weights are finite"),
        ([0.5, 0.0, float("inf")], r"is inf at token 2; weights are finite"),
        ([0.5, 0.25, 1.0], r"is 0.25 at token 1; the mask is false there, so it must be 0"),
        ([0.0, 0.0, 0.0], r"is 0 at every token, and the mask keeps some"),
        ([0.5, 0.0], r"2 entries in chosen_weight, 3 ids"),
    ],
)
def test_wrong_weights_name_the_row(weights: list[float], message: str) -> None:
    rows = [{**PAIRS[1], "chosen_weight": [0.0]}, {**PAIRS[0], "chosen_weight": weights}]
    with pytest.raises(ValueError, match=rf"row 1: (column chosen_weight )?{message}"):
        collate(rows, "chosen")


def test_empty_responses() -> None:
    batch = collate([{"prompt_ids": [1], "chosen_ids": [], "chosen_mask": []}], "chosen")
    assert listed(batch) == {"input_ids": [[1]], "attention_mask": [[1]], "valid": [[0]], "mask": [[0]]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chosen_mask": None}, "row 1: column chosen_mask is null"),
        ({"chosen_mask": [1]}, "row 1: chosen_mask is torch.int64; a mask is bool"),
        ({"chosen_mask": [True, True]}, "row 1: 2 entries in chosen_mask, 1 ids"),
        ({"chosen_ref_logp": [None]}, "row 1: column chosen_ref_logp is not a list of numbers"),
        ({"chosen_ids": [[24]]}, "row 1: column chosen_ids has shape"),
        ({"chosen_ids": [2.5]}, "row 1: chosen_ids must hold token ids"),
        ({"prompt_ids": [-100]}, "row 1: prompt_ids must hold token ids"),
        ({"prompt_ids": "text"}, "row 1: column prompt_ids is not a list of numbers"),
    ],
)
def test_wrong_rows(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collate([PAIRS[0], {**PAIRS[1], **changed}])


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="row 0: column completion_ids is missing; there are prompt_ids, chosen_ids"):
        collate(PAIRS, "completion")
    with pytest.raises(ValueError, match="at least one row"):
        collate([])
    with pytest.raises(ValueError, match="both are at least 1"):
        collate(PAIRS, max_length=0)


def test_log_probabilities_of_tokens_in_their_places() -> None:
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[3, 1, 6, 0], [2, 2, 5, 4]])
    logps = token_logps(logits, ids)
    assert logps.shape == (2, 4)
    assert logps[:, 0].tolist() == [0, 0]
    for row in range(2):
        for token in range(1, 4):
            predicted = np.exp(logits[row, token - 1].double().numpy())
            expected = np.log(predicted[ids[row, token]] / predicted.sum())
            assert logps[row, token].item() == pytest.approx(expected, abs=1e-5)
    assert token_logps(logits.bfloat16(), ids).dtype == torch.float32
    assert token_logps(logits.double(), ids).dtype == torch.float64
    with pytest.raises(ValueError, match="do not match"):
        token_logps(logits[:, 1:], ids)


def test_a_loop_s_loss_is_that_of_cross_entropy_over_the_labels() -> None:
    batch = collate(PAIRS, "rejected")
    logits = torch.randn(*batch["input_ids"].shape, 40, generator=torch.Generator().manual_seed(1))
    loss = adaptive_rs_loss(token_logps(logits, batch["input_ids"]), batch["mask"])
    labels = batch["input_ids"].masked_fill(~batch["mask"], -100)
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
