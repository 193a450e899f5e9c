"""``S_weight`` in the trainers: by hand, to the bit where weights are 1, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from asr_data.errors import ConfigError

from .conftest import assert_same_gradients, messages, plain, token_logps

trl = pytest.importorskip("trl", reason="needs trl: pip install 'asr-data[train]'")

from trl.trainer import dpo_trainer, kto_trainer, sft_trainer  # noqa: E402

from asr_data.trl import AdaptiveDPOTrainer, AdaptiveKTOTrainer, AdaptiveRSTrainer  # noqa: E402
from asr_data.trl.weights import row_weights, with_mean_1, with_sum_1  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.skipif(not hasattr(dpo_trainer, "add_fused_lm_head"), reason="needs TRL 1.16: pip install trl==1.16"),
]
SIDES = ("chosen", "rejected")


def with_weights(rows: list[dict[str, Any]], *, uniform: bool = False) -> list[dict[str, Any]]:
    """The rows with weights on the quarters from 0.25 to 1.5, or 1, where the masks are true; some are 0 there."""
    made = []
    for number, row in enumerate(rows):
        weights: dict[str, list[float]] = {}
        for side in SIDES:
            mask = row[f"{side}_mask"]
            kept = [1.0 if uniform else 0.25 * ((place + number) % 7) for place in range(len(mask))]
            weights[side] = [weight * keep for weight, keep in zip(kept, mask, strict=True)]
            if any(mask) and not any(weights[side]):
                weights[side][mask.index(True)] = 0.5
        made.append({**row, "asr_row": number, **{f"{side}_weight": weights[side] for side in SIDES}})
    return made


def perturbed(model: Any) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))


CONFIGS: dict[Any, Any] = {
    AdaptiveDPOTrainer: trl.DPOConfig,
    AdaptiveKTOTrainer: trl.KTOConfig,
    AdaptiveRSTrainer: trl.SFTConfig,
}


@pytest.fixture
def make(policy: Path, tokenizer: Any, pair_rows: list[dict[str, Any]], common: dict[str, Any]) -> Callable[..., Any]:
    def build(kind: Any, config: dict[str, Any] | None = None, rows: Any = None, **settings: Any) -> Any:
        trainer = kind(
            model=settings.pop("model", None) or AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
            args=CONFIGS[kind](**{**common, "per_device_eval_batch_size": 10, **(config or {})}),
            train_dataset=Dataset.from_list(with_weights(pair_rows) if rows is None else rows),
            processing_class=tokenizer,
            **settings,
        )
        perturbed(trainer.model)
        return trainer

    return build


def loss_of(trainer: Any) -> Tensor:
    trainer.model.zero_grad()
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    loss: Tensor = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach()


def weighted_logp(model: Any, row: dict[str, Any], side: str, weights: list[float] | None = None) -> Tensor:
    """Σ w log π of one side of a row."""
    prompt, ids = row["prompt_ids"], row[f"{side}_ids"]
    logps = token_logps(model, prompt + ids)[len(prompt) :]
    return (logps * torch.tensor(row[f"{side}_weight"] if weights is None else weights)).sum()


def ratios(policy: Any, reference: Any, row: dict[str, Any], *, mean: bool = False) -> list[Tensor]:
    found = []
    for side in SIDES:
        with torch.no_grad():
            base = weighted_logp(reference, row, side)
        by = max(sum(row[f"{side}_weight"]), 1e-9) if mean else 1.0
        found.append((weighted_logp(policy, row, side) - base) / by)
    return found


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo", "sigmoid_norm"])
@pytest.mark.parametrize("share_prefix", [False, True])
def test_dpo_is_the_weighted_loss(
    kind: str, share_prefix: bool, make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    trainer = make(AdaptiveDPOTrainer, {"loss_type": [kind]}, share_prefix=share_prefix)
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    losses = []
    for row in with_weights(pair_rows):
        chosen, rejected = ratios(other, reference, row, mean=kind in ("ipo", "sigmoid_norm"))
        margin = chosen - rejected
        losses.append(
            {
                "sigmoid": -logsigmoid(0.1 * margin),
                "hinge": torch.relu(1 - 0.1 * margin),
                "ipo": (margin - 5) ** 2,
                "sigmoid_norm": -logsigmoid(0.1 * margin),
            }[kind]
        )
    expected = torch.stack(losses).mean()
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-5, rtol=1e-5)
    assert_same_gradients(trainer.model, other)


@pytest.mark.parametrize(
    ("kind", "config", "settings"),
    [
        (AdaptiveDPOTrainer, {}, {}),
        (AdaptiveDPOTrainer, {"loss_type": ["ipo"]}, {}),
        (AdaptiveDPOTrainer, {}, {"detach": True}),
        (AdaptiveDPOTrainer, {"precompute_ref_log_probs": True}, {}),
        (AdaptiveKTOTrainer, {}, {}),
        (AdaptiveRSTrainer, {}, {}),
        (AdaptiveRSTrainer, {"max_length": 20}, {}),
    ],
    ids=str,
)
def test_weight_1_is_the_mask_to_the_last_bit(
    kind: Any, config: dict[str, Any], settings: dict[str, Any], make: Callable[..., Any], pair_rows: Any
) -> None:
    trainers = [
        make(kind, config, rows, **settings)
        for rows in (with_weights(pair_rows, uniform=True), [{**row, "asr_row": 0} for row in pair_rows])
    ]
    losses = [loss_of(trainer) for trainer in trainers]
    assert torch.equal(*losses)
    pairs = zip(*(trainer.model.parameters() for trainer in trainers), strict=True)
    assert all(torch.equal(one.grad, other.grad) for one, other in pairs)


def test_precomputed_and_stored_references_are_weighted(
    make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    expected = loss_of(make(AdaptiveDPOTrainer))
    torch.testing.assert_close(loss_of(make(AdaptiveDPOTrainer, {"precompute_ref_log_probs": True})), expected)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    stored = []
    for row in with_weights(pair_rows):
        logps = {side: token_logps(reference, row["prompt_ids"] + row[f"{side}_ids"]) for side in SIDES}
        stored.append({**row, **{f"{s}_ref_logp": logps[s][len(row["prompt_ids"]) :].tolist() for s in SIDES}})
    torch.testing.assert_close(loss_of(make(AdaptiveDPOTrainer, rows=stored)), expected, atol=1e-6, rtol=1e-5)


def test_detach_weighs_the_gradient_alone(make: Callable[..., Any], policy: Path, pair_rows: Any) -> None:
    trainer = make(AdaptiveDPOTrainer, detach=True)
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    losses = []
    for row in with_weights(pair_rows):
        sides = []
        for side in SIDES:
            ones = [1.0] * len(row[f"{side}_ids"])
            with torch.no_grad():
                value = weighted_logp(other, row, side, ones) - weighted_logp(reference, row, side, ones)
            moving = weighted_logp(other, row, side)
            sides.append(value + moving - moving.detach())
        losses.append(-logsigmoid(0.1 * (sides[0] - sides[1])))
    expected = torch.stack(losses).mean()
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_kto_is_the_weighted_loss(make: Callable[..., Any], policy: Path, pair_rows: Any) -> None:
    rows = [row for row in with_weights(pair_rows) if all(any(row[f"{s}_weight"]) for s in SIDES)]
    trainer = make(AdaptiveKTOTrainer, {"per_device_train_batch_size": 8}, rows)
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    single = [
        {
            "prompt_ids": row["prompt_ids"],
            "x_ids": row[f"{s}_ids"],
            "x_weight": row[f"{s}_weight"],
            "good": s == "chosen",
        }
        for s in SIDES
        for row in rows
    ]
    mixed = [one | {k: single[i - 1][k] for k in ("x_ids", "x_weight")} for i, one in enumerate(single)]
    with torch.no_grad():
        base = [weighted_logp(reference, one, "x") for one in single]
        gaps = [weighted_logp(other, one, "x") - weighted_logp(reference, one, "x") for one in mixed]
    z = torch.stack(gaps).mean().clamp(min=0)
    losses = [
        1 - torch.sigmoid((1 if one["good"] else -1) * 0.1 * (weighted_logp(other, one, "x") - ref - z))
        for one, ref in zip(single, base, strict=True)
    ]
    expected = torch.stack(losses).mean()
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_rs_divides_by_the_sum_of_weights(make: Callable[..., Any], pair_rows: Any) -> None:
    trainer = make(AdaptiveRSTrainer)
    other = plain(trainer.model)
    rows = with_weights(pair_rows)
    total = sum(sum(row["chosen_weight"]) for row in rows)
    expected = -torch.stack([weighted_logp(other, row, "chosen") for row in rows]).sum() / total
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_rs_in_accumulated_micro_batches(make: Callable[..., Any], pair_rows: Any, tmp_path: Path) -> None:
    """A step of gradient descent at rate 1 over five micro-batches moves by the gradient of the whole."""
    step = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 5, "max_steps": 1, "optim": "sgd"}
    rate = {"learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    trainer = make(AdaptiveRSTrainer)
    for name, value in {**step, **rate}.items():
        setattr(trainer.args, name, value)
    trainer._train_batch_size = 1
    other = plain(trainer.model)
    rows = with_weights(pair_rows)
    total = sum(sum(row["chosen_weight"]) for row in rows)
    loss = -torch.stack([weighted_logp(other, row, "chosen") for row in rows]).sum() / total
    loss.backward()
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    logged = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    assert logged == pytest.approx(float(loss.detach()), abs=1e-5)
    wanted = dict(other.named_parameters())
    for name, value in trainer.model.named_parameters():
        torch.testing.assert_close(before[name] - value.detach(), wanted[name].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_each_trains(kind: Any, make: Callable[..., Any]) -> None:
    trainer = make(kind)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_weight": lambda w: [-1.0, *w[1:]]}, r"row 1: column chosen_weight is -1.0 at token 0; .* at least 0"),
        ({"chosen_weight": lambda w: [math.nan, *w[1:]]}, r"row 1: column chosen_weight is nan at token 0"),
        ({"chosen_weight": lambda w: [math.inf, *w[1:]]}, r"row 1: column chosen_weight is inf at token 0"),
        ({"chosen_weight": lambda w: [0.0] * len(w)}, r"row 1: column chosen_weight is 0 at every token"),
        ({"chosen_mask": lambda m: [False] * len(m)}, r"row 1: column chosen_weight is .*where the mask is false"),
    ],
)
@pytest.mark.parametrize("kind", list(CONFIGS))
def test_wrong_weights_name_the_row(
    kind: Any, change: dict[str, Any], message: str, make: Callable[..., Any], pair_rows: Any
) -> None:
    rows = with_weights(pair_rows)
    rows[1] |= {name: edit(rows[1][name]) for name, edit in change.items()}
    with pytest.raises((ConfigError, RuntimeError), match=message):
        loss_of(make(kind, rows=rows))


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_a_response_without_weights_names_the_row(kind: Any, make: Callable[..., Any], pair_rows: Any) -> None:
    rows = with_weights(pair_rows)
    rows[1]["chosen_weight"] = None
    with pytest.raises((ConfigError, RuntimeError), match="row 1: column chosen_weight is missing or null"):
        loss_of(make(kind, rows=rows))


@pytest.mark.parametrize("kind", [AdaptiveDPOTrainer, AdaptiveKTOTrainer])
def test_a_side_without_weights_names_the_column(kind: Any, make: Callable[..., Any], pair_rows: Any) -> None:
    rows = [
        {name: value for name, value in row.items() if name != "rejected_weight"} for row in with_weights(pair_rows)
    ]
    with pytest.raises((ConfigError, RuntimeError), match="row 0: column rejected_weight is missing or null"):
        loss_of(make(kind, rows=rows))


def test_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="row 7: column x_weight has 1 entries, and the mask 2"):
        row_weights([1.0], [True, True], "x_weight", 7)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (AdaptiveDPOTrainer, {"loss_type": ["sigmoid", "sft"]}, "sft: TRL counts tokens there"),
        (AdaptiveDPOTrainer, {"ld_alpha": 0.5}, "ld_alpha: TRL counts tokens there"),
        (AdaptiveDPOTrainer, {"use_weighting": True}, "use_weighting: TRL counts tokens there"),
        (AdaptiveDPOTrainer, {"loss_type": ["sigmoid", "ipo"]}, "either all or none are means per token"),
        (AdaptiveKTOTrainer, {"precompute_ref_log_probs": True}, "precompute_ref_log_probs: drop the S_weight"),
        (AdaptiveRSTrainer, {"packing": True}, "packing: drop the S_weight"),
        (AdaptiveRSTrainer, {"loss_type": "dft"}, "loss_type='dft': drop the S_weight"),
    ],
)
def test_settings_that_would_be_wrong(
    kind: Any, config: dict[str, Any], message: str, make: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(kind, config)


@pytest.mark.parametrize(
    ("kind", "module"),
    [(AdaptiveDPOTrainer, dpo_trainer), (AdaptiveKTOTrainer, kto_trainer), (AdaptiveRSTrainer, sft_trainer)],
)
def test_an_older_trl_is_named(
    kind: Any, module: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, "add_fused_lm_head")
    monkeypatch.setattr("asr_data.trl.weights.version", lambda _: "1.14.2")
    with pytest.raises(ConfigError, match=r"S_weight columns need TRL 1\.16; this is TRL 1\.14\.2"):
        make(kind)


def test_scaled_rows() -> None:
    weights = torch.tensor([[0.0, 0.25, 0.5], [0.0, 0.0, 0.0], [3.0, 1.0, 0.0]])
    torch.testing.assert_close(with_mean_1(weights), torch.tensor([[0, 2 / 3, 4 / 3], [0, 0, 0], [1.5, 0.5, 0]]))
    torch.testing.assert_close(with_sum_1(weights), torch.tensor([[0, 1 / 3, 2 / 3], [0, 0, 0], [3.0, 1.0, 0.0]]))


def test_evaluation_data_must_have_weights_too(make: Callable[..., Any], pair_rows: Any) -> None:
    with pytest.raises(ConfigError, match="either all data sets have S_weight columns or none"):
        make(AdaptiveDPOTrainer, eval_dataset=Dataset.from_list([{**row, "asr_row": 0} for row in pair_rows]))


def test_grpo_takes_weights(policy: Path, common: dict[str, Any], tokenizer: Any) -> None:
    from asr_data.trl import AdaptiveGRPOTrainer

    from .test_grpo import letters, sampled, scorer

    own = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 12, "beta": 0.0}
    trainer = AdaptiveGRPOTrainer(
        model=str(policy),
        reward_funcs=letters,
        args=trl.GRPOConfig(**{**common, **own, "max_steps": 1}),
        train_dataset=Dataset.from_list([{"prompt": messages("user", "What is 2 + 2?")}] * 2),
        processing_class=tokenizer,
        scorer=scorer(),
        mask={"segmenter": "token", "weights": {"kind": "soft", "low": -0.5, "high": 0.5}},
    )
    output = sampled(trainer)
    weights = output["tool_mask"]
    assert weights.is_floating_point()
    assert float(output["num_items_in_batch"]) == pytest.approx(float((weights * output["completion_mask"]).sum()))
    trainer.current_gradient_accumulation_steps = 1
    output["advantages"] = torch.tensor([1.0, -0.5, 2.0, -1.0])
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, output)
    loss.backward()
    other = plain(trainer.model)
    other.zero_grad()
    terms = []
    for i, row in enumerate(weights):
        prompt = output["prompt_ids"][i][output["prompt_mask"][i].bool()].tolist()
        completion = output["completion_ids"][i][output["completion_mask"][i].bool()].tolist()
        logps = token_logps(other, prompt + completion)[len(prompt) :]
        terms.append(((logps - logps.detach()).exp() * output["advantages"][i] * row[: len(completion)]).sum())
    expected = -torch.stack(terms).sum() / output["num_items_in_batch"]
    expected.backward()
    torch.testing.assert_close(loss.detach(), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)
