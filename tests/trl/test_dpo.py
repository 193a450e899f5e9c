"""AdaptiveDPOTrainer against a loss written by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from asr_data.errors import ConfigError

from .conftest import (
    assert_gradient_where_kept,
    assert_same_gradients,
    hidden_gradient,
    masked_logp,
    messages,
    plain,
    token_logps,
)

trl = pytest.importorskip("trl", reason="needs trl: pip install 'asr-data[train]'")

from trl.trainer import dpo_trainer  # noqa: E402

from asr_data.trl import AdaptiveDPOTrainer  # noqa: E402
from asr_data.trl.dpo import AdaptivePreferenceCollator  # noqa: E402

pytestmark = [
    # TRL 1.16 still reads the old name of transformers' setting.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # It is there until TRL 2, so its masks are tested.
    pytest.mark.filterwarnings("ignore:The `'keep_end'` truncation mode is deprecated:FutureWarning"),
]


FUSED = hasattr(dpo_trainer, "add_fused_lm_head")


@pytest.fixture
def make(policy: Path, tokenizer: Any, pairs: Dataset, common: dict[str, Any]) -> Callable[..., AdaptiveDPOTrainer]:
    """A trainer whose policy differs from its reference."""

    def make(config: dict[str, Any] | None = None, **settings: Any) -> AdaptiveDPOTrainer:
        if not FUSED and (settings.get("detach") or settings.get("share_prefix")):
            pytest.skip("needs TRL 1.16 or later: pip install 'trl>=1.16'")
        settings.setdefault("model", AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32))
        settings.setdefault("train_dataset", pairs)
        args = trl.DPOConfig(**common, **(config or {}))
        trainer = AdaptiveDPOTrainer(args=args, processing_class=tokenizer, **settings)
        with torch.no_grad():
            for number, parameter in enumerate(p for p in trainer.model.parameters() if p.requires_grad):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
                parameter += 0.05 * noise
        return trainer

    return make


def loss_of(trainer: AdaptiveDPOTrainer) -> torch.Tensor:
    trainer.model.zero_grad()
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    loss: torch.Tensor = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach()


def margins(policy: Any, reference: Any, rows: list[dict[str, Any]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    with torch.no_grad():
        base = [[masked_logp(reference, row, side) for side in ("chosen", "rejected")] for row in rows]
    return [
        (masked_logp(policy, row, "chosen") - ref[0], masked_logp(policy, row, "rejected") - ref[1])
        for row, ref in zip(rows, base, strict=True)
    ]


def by_hand(kind: str, policy: Any, reference: Any, rows: list[dict[str, Any]], beta: float = 0.1) -> torch.Tensor:
    losses = []
    for row, (chosen, rejected) in zip(rows, margins(policy, reference, rows), strict=True):
        margin = chosen - rejected
        counts = [max(1, sum(row[f"{side}_mask"])) for side in ("chosen", "rejected")]
        mean = chosen / counts[0] - rejected / counts[1]
        losses.append(
            {
                "sigmoid": lambda m=margin: -logsigmoid(beta * m),
                "hinge": lambda m=margin: torch.relu(1 - beta * m),
                "ipo": lambda m=mean: (m - 1 / (2 * beta)) ** 2,
                "sigmoid_norm": lambda m=mean: -logsigmoid(beta * m),
                "apo_zero": lambda c=chosen, r=rejected: 1 - torch.sigmoid(beta * c) + torch.sigmoid(beta * r),
                "bco_pair": lambda c=chosen, r=rejected: -logsigmoid(beta * c) - logsigmoid(-beta * r),
            }[kind]()
        )
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo", "sigmoid_norm", "apo_zero", "bco_pair"])
def test_loss_and_gradients_are_the_masked_ones(
    kind: str, make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    trainer = make({"loss_type": [kind]})
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    expected = by_hand(kind, other, reference, pair_rows)
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def test_the_masks_change_the_loss(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    every = [
        {name: [True] * len(value) if name.endswith("_mask") else value for name, value in row.items()}
        for row in pair_rows
    ]
    assert abs(loss_of(make()) - loss_of(make(train_dataset=Dataset.from_list(every)))) > 1e-3


@pytest.mark.parametrize("detach", [False, True])
def test_masked_tokens_have_no_gradient(
    detach: bool, make: Callable[..., Any], pair_rows: list[dict[str, Any]]
) -> None:
    trainer = make(detach=detach)
    [batch] = trainer.get_eval_dataloader(trainer.train_dataset)
    gradient = hidden_gradient(trainer, batch)
    for place, row in enumerate(pair_rows):
        assert_gradient_where_kept(gradient[place], row, "chosen")
        assert_gradient_where_kept(gradient[place + len(pair_rows)], row, "rejected")


def test_detach_has_the_full_margin_and_the_masked_gradient(
    make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    trainer = make(detach=True)
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    losses = []
    for row in pair_rows:
        full, part = [], []
        for side in ("chosen", "rejected"):
            with torch.no_grad():
                full.append(masked_logp(other, row, side, everything=True))
                full[-1] -= masked_logp(reference, row, side, everything=True)
            part.append(masked_logp(other, row, side))
        slope = -0.1 * torch.sigmoid(-0.1 * (full[0] - full[1]))  # of −log σ(βm)
        value = -logsigmoid(0.1 * (full[0] - full[1]))
        surrogate = slope * (part[0] - part[1])
        losses.append(value + surrogate - surrogate.detach())
    expected = torch.stack(losses).mean()
    expected.backward()
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=1e-6, rtol=1e-6)
    assert_same_gradients(trainer.model, other)


def empty(rows: list[dict[str, Any]], *sides: str) -> Dataset:
    return Dataset.from_list(
        [row | {f"{side}_mask": [False] * len(row[f"{side}_mask"]) for side in sides} for row in rows]
    )


def test_empty_masks_give_log_2_and_no_gradient(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    trainer = make(train_dataset=empty(pair_rows, "chosen", "rejected"))
    assert loss_of(trainer).item() == pytest.approx(math.log(2), abs=1e-6)
    assert not any(p.grad is not None and p.grad.any() for p in trainer.model.parameters())


def test_the_sft_term_of_an_empty_batch_is_left_out(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    both = {"loss_type": ["sft", "sigmoid"], "loss_weights": [1.0, 0.5]}
    trainer = make(both, train_dataset=empty(pair_rows, "chosen"))
    alone = make({"loss_type": ["sigmoid"]}, train_dataset=empty(pair_rows, "chosen"))
    assert loss_of(trainer).item() == pytest.approx(0.5 * loss_of(alone).item(), abs=1e-7)
    assert trainer.loss_types == ["sft", "sigmoid"]
    whole = make(both)
    chosen = [masked_logp(whole.model, row, "chosen") for row in pair_rows]
    mean = -sum(chosen) / sum(sum(row["chosen_mask"]) for row in pair_rows)
    assert loss_of(whole).item() == pytest.approx((mean + 0.5 * loss_of(make())).item(), abs=1e-5)


# --- the collator ----------------------------------------------------------------------------------------

ROW = {
    "prompt_ids": [1, 2],
    "chosen_ids": [3, 4, 5],
    "chosen_mask": [True, False, True],
    "rejected_ids": [6],
    "rejected_mask": [True],
}


def test_collator_by_hand() -> None:
    batch = AdaptivePreferenceCollator(pad_token_id=0)([ROW])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 6, 0, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 0, 1], [0, 0, 1, 0, 0]]
    assert set(batch) == {"input_ids", "attention_mask", "completion_mask"}


def test_collator_with_detach_keeps_both_masks() -> None:
    batch = AdaptivePreferenceCollator(pad_token_id=0, detach=True)([ROW])
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 0, 0]]
    assert batch["kept_mask"].tolist() == [[0, 0, 1, 0, 1], [0, 0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("mode", "length", "ids", "mask"),
    [
        ("keep_start", 4, [[1, 2, 3, 4], [1, 2, 6, 0]], [[0, 0, 1, 0], [0, 0, 1, 0]]),
        ("keep_end", 4, [[2, 3, 4, 5], [1, 2, 6, 0]], [[0, 1, 0, 1], [0, 0, 1, 0]]),
        # Token 5 is predicted from 4; token 3 would stand first, with nothing before it.
        ("keep_end", 3, [[3, 4, 5], [1, 2, 6]], [[0, 0, 1], [0, 0, 1]]),
    ],
)
def test_collator_cuts_ids_and_masks_together(
    mode: str, length: int, ids: list[list[int]], mask: list[list[int]]
) -> None:
    batch = AdaptivePreferenceCollator(pad_token_id=0, max_length=length, truncation_mode=mode)([ROW])
    assert batch["input_ids"].tolist() == ids
    assert batch["completion_mask"].tolist() == mask


def test_collator_reads_columns_with_a_prefix_alone() -> None:
    row = {f"asr_{name}": value for name, value in ROW.items()} | {"prompt_ids": [9, 9], "chosen_mask": [True] * 3}
    batch = AdaptivePreferenceCollator(pad_token_id=0, prefix="asr_", pad_to_multiple_of=4)([row])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 0, 0, 0], [1, 2, 6, 0, 0, 0, 0, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]]


def test_collator_sums_the_stored_reference() -> None:
    row = ROW | {"chosen_ref_logp": [-1.0, -2.0, -4.0], "rejected_ref_logp": [-8.0]}
    batch = AdaptivePreferenceCollator(pad_token_id=0)([row])
    assert batch["ref_chosen_logps"].tolist() == [-5.0]
    assert batch["ref_rejected_logps"].tolist() == [-8.0]
    assert AdaptivePreferenceCollator(pad_token_id=0, max_length=4)([row])["ref_chosen_logps"].tolist() == [-1.0]
    assert AdaptivePreferenceCollator(pad_token_id=0, detach=True)([row])["ref_chosen_logps"].tolist() == [-7.0]


def test_collator_refuses_a_mask_of_another_length() -> None:
    with pytest.raises(ConfigError, match="2 entries in chosen_mask, 3 ids"):
        AdaptivePreferenceCollator(pad_token_id=0)([ROW | {"chosen_mask": [True, False]}])


# --- where the reference comes from ----------------------------------------------------------------------


@pytest.fixture
def stored(policy: Path, pair_rows: list[dict[str, Any]]) -> Dataset:
    """Pairs with ``S_ref_logp`` columns from the policy as it is on disk."""
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    rows = []
    for row in pair_rows:
        added = {}
        for side in ("chosen", "rejected"):
            with torch.no_grad():
                logps = token_logps(reference, row["prompt_ids"] + row[f"{side}_ids"])
            added[f"{side}_ref_logp"] = logps[len(row["prompt_ids"]) :].tolist()
        rows.append(row | added)
    return Dataset.from_list(rows)


@pytest.mark.parametrize("detach", [False, True])
def test_stored_and_precomputed_references_give_the_same_loss(
    detach: bool, make: Callable[..., Any], stored: Dataset
) -> None:
    loaded, columns = make(detach=detach), make(detach=detach, train_dataset=stored)
    precomputed = make({"precompute_ref_log_probs": True}, detach=detach)
    assert columns.ref_model is None
    assert precomputed.ref_model is None
    expected = loss_of(loaded)
    assert abs(expected - math.log(2)) > 1e-3
    torch.testing.assert_close(loss_of(columns), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(loss_of(precomputed), expected, atol=1e-6, rtol=1e-6)
    columns.train()
    assert columns.evaluate(stored)["eval_loss"] > 0
    assert set(columns.evaluate({"one": stored, "two": stored})) >= {"eval_one_loss", "eval_two_loss"}


def test_rows_without_a_stored_reference_are_left_out(
    make: Callable[..., Any], stored: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    rows = stored.to_list()
    rows[3]["chosen_ref_logp"] = None
    trainer = make(train_dataset=Dataset.from_list(rows))
    assert len(trainer.train_dataset) == 4
    assert "1 of 5 rows of the train data set are left out" in caplog.text


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"ld_alpha": 0.5}, "ld_alpha"),
        ({"truncation_mode": "keep_end"}, "keep_end"),
        ({"sync_ref_model": True}, "sync_ref_model"),
    ],
)
def test_what_a_stored_reference_refuses(
    config: dict[str, Any], name: str, make: Callable[..., Any], stored: Dataset, policy: Path
) -> None:
    with pytest.raises(ConfigError, match=name):
        make(config, train_dataset=stored)
    with pytest.raises(ConfigError, match="ref_model"):
        make(train_dataset=stored, ref_model=AutoModelForCausalLM.from_pretrained(policy))
    with pytest.raises(ConfigError, match="either all data sets have S_ref_logp"):
        make(train_dataset=stored, eval_dataset=stored.remove_columns(["chosen_ref_logp", "rejected_ref_logp"]))


def precomputed_chosen(make: Callable[..., Any], folder: Path, cache: Path, config: dict[str, Any]) -> list[float]:
    import datasets

    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(cache))
    trainer = make({"precompute_ref_log_probs": True, **config}, train_dataset=rows)
    return list(trainer.train_dataset["ref_chosen_logps"])


def test_a_cached_reference_is_that_of_the_masks(
    make: Callable[..., Any], pair_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Other masks in the same directory, or another max_length, are not answered from TRL's cache."""
    folder, cache = tmp_path / "data", tmp_path / "cache"
    folder.mkdir()
    Dataset.from_list(pair_rows).to_parquet(folder / "train.parquet")
    first = precomputed_chosen(make, folder, cache, {})
    short = precomputed_chosen(make, folder, cache, {"max_length": 25})
    empty(pair_rows, "chosen").to_parquet(folder / "train.parquet")
    masked = precomputed_chosen(make, folder, cache, {})
    assert first != short
    assert set(masked) == {0.0}


# --- TRL's own options -----------------------------------------------------------------------------------


def test_peft_without_a_reference_model(
    make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    from peft import LoraConfig

    trainer = make(peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    assert trainer.ref_model is None
    merged = plain(copy.deepcopy(trainer.model).merge_and_unload())
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    expected = by_hand("sigmoid", merged, reference, pair_rows)
    torch.testing.assert_close(loss_of(trainer), expected.detach(), atol=2e-6, rtol=1e-6)
    trainer.train()


def test_streams_and_several_evaluations(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    stream = IterableDataset.from_generator(lambda: iter(pair_rows))
    rows = Dataset.from_list(pair_rows)
    trainer = make(
        {"eval_strategy": "steps", "eval_steps": 1}, train_dataset=stream, eval_dataset={"one": rows, "two": rows}
    )
    trainer.train()
    logged = {name for entry in trainer.state.log_history for name in entry}
    assert {"loss", "eval_one_loss", "eval_two_loss", "eval_rewards/margins"} <= logged
    before = trainer.evaluate(rows)["eval_loss"]
    assert before == pytest.approx(trainer.evaluate({"one": rows})["eval_one_loss"])
    assert before == pytest.approx(loss_of(trainer_like(make, trainer, rows)).item(), abs=1e-6)


def trainer_like(make: Callable[..., Any], trainer: Any, rows: Dataset) -> Any:
    other = make(train_dataset=rows)
    other.model.load_state_dict(trainer.model.state_dict())
    return other


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
def test_truncation_keeps_each_token_with_its_mask(
    mode: str, make: Callable[..., Any], policy: Path, pair_rows: list[dict[str, Any]]
) -> None:
    longest = 25
    cut = [cut_row(row, longest, mode) for row in pair_rows]
    trainer = make({"max_length": longest, "truncation_mode": mode})
    other = plain(trainer.model)
    reference = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    expected = []
    for row in cut:
        sides = []
        for side in ("chosen", "rejected"):
            ids, mask = row[f"{side}_sequence"], row[f"{side}_kept"]
            with torch.no_grad():
                ratio = token_logps(other, ids) - token_logps(reference, ids)
            sides.append(sum(value for value, keep in zip(ratio[1:], mask[1:], strict=True) if keep))
        expected.append(-logsigmoid(torch.as_tensor(0.1 * (sides[0] - sides[1]))))
    torch.testing.assert_close(loss_of(trainer), torch.stack(expected).mean(), atol=1e-6, rtol=1e-6)


def cut_row(row: dict[str, Any], longest: int, mode: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for side in ("chosen", "rejected"):
        ids = row["prompt_ids"] + row[f"{side}_ids"]
        mask = [False] * len(row["prompt_ids"]) + row[f"{side}_mask"]
        part = slice(0, longest) if mode == "keep_start" else slice(max(0, len(ids) - longest), len(ids))
        out |= {f"{side}_sequence": ids[part], f"{side}_kept": mask[part]}
    return out


# --- what is refused -------------------------------------------------------------------------------------


def test_data_that_was_not_annotated(make: Callable[..., Any], pairs: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"no column chosen_mask.*asr-annotate run"):
        make(train_dataset=pairs.remove_columns(["chosen_mask"]))
    with pytest.raises(ConfigError, match="the eval data set has no column"):
        make(eval_dataset=pairs.remove_columns(["chosen_mask"]))


def test_ids_of_another_tokenizer_at_equal_length(make: Callable[..., Any], pair_rows: list[dict[str, Any]]) -> None:
    rows = copy.deepcopy(pair_rows)
    rows[4]["rejected_ids"][0] += 1
    wrong, place = rows[4]["rejected_ids"][0], len(rows[4]["prompt_ids"])
    with pytest.raises(ConfigError, match=f"sampled row 4, rejected: id {place} is {wrong}, not {wrong - 1}"):
        make(train_dataset=Dataset.from_list(rows))
    make(train_dataset=Dataset.from_list(rows), check_rows=0)


def test_texts_that_cannot_be_found(make: Callable[..., Any], pairs: Dataset) -> None:
    renamed = pairs.rename_columns({"prompt": "p", "chosen": "c", "rejected": "r"})
    with pytest.raises(ConfigError, match=r"(?s)cannot be read.*check_rows=0"):
        make(train_dataset=renamed)
    make(train_dataset=renamed, columns={"prompt": "p", "chosen": "c", "rejected": "r"})
    make(train_dataset=renamed.remove_columns(["p", "c", "r"]), check_rows=0)


def test_a_prefix(make: Callable[..., Any], pairs: Dataset) -> None:
    ours = [name for name in pairs.column_names if name.endswith(("_ids", "_mask"))]
    prefixed = pairs.rename_columns({name: f"asr_{name}" for name in ours})
    assert loss_of(make(train_dataset=prefixed, column_prefix="asr_")) == loss_of(make())
    with pytest.raises(ConfigError, match="column_prefix= must be what --prefix was"):
        make(train_dataset=prefixed)


def test_settings_that_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="data_collator"):
        make(data_collator=AdaptivePreferenceCollator(pad_token_id=0))
    with pytest.raises(ConfigError, match="AdaptiveRSTrainer"):
        make({"loss_type": ["sft"]})


@pytest.mark.parametrize("setting", ["detach", "share_prefix"])
def test_older_versions_of_trl_refuse_what_they_cannot_do(
    setting: str, policy: Path, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(dpo_trainer, "add_fused_lm_head", raising=False)
    with pytest.raises(ConfigError, match=r"need TRL 1\.16; this is TRL 1\."):
        AdaptiveDPOTrainer(str(policy), train_dataset=pairs, **{setting: True})


def test_plain_texts_and_transcripts_are_checked_as_annotation_read_them(
    make: Callable[..., Any], tokenizer: Any, pair_rows: list[dict[str, Any]]
) -> None:
    row = pair_rows[0]
    ask, good, bad = row["prompt"][0]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"]
    transcript = row | {s: f"\n\nHuman: {ask}\n\nAssistant: {t}" for s, t in (("chosen", good), ("rejected", bad))}
    del transcript["prompt"]
    make(train_dataset=Dataset.from_list([transcript]))
    prompt = tokenizer(ask)["input_ids"]
    plain = {"prompt": ask, "prompt_ids": prompt}
    for side, text in (("chosen", good), ("rejected", bad)):
        ids = tokenizer(ask + text + tokenizer.eos_token)["input_ids"]
        assert ids[: len(prompt)] == prompt
        plain |= {side: text, f"{side}_ids": ids[len(prompt) :], f"{side}_mask": [True] * (len(ids) - len(prompt))}
    make(train_dataset=Dataset.from_list([plain]))
    with pytest.raises(ConfigError, match="not the ids"):
        make(
            train_dataset=Dataset.from_list(
                [
                    plain
                    | {"prompt": messages("user", ask)}
                    | {side: messages("assistant", plain[side]) for side in ("chosen", "rejected")}
                ]
            )
        )


# --- shared prefixes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("peft", [False, True])
def test_shared_prefixes_give_the_same_step(detach: bool, peft: bool, make: Callable[..., Any]) -> None:
    from peft import LoraConfig

    def lora() -> LoraConfig | None:
        return LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if peft else None

    plainly, shared = (make(detach=detach, peft_config=lora(), share_prefix=share) for share in (False, True))
    torch.testing.assert_close(loss_of(shared), loss_of(plainly), atol=1e-6, rtol=1e-6)
    for one, two in zip(shared.model.parameters(), plainly.model.parameters(), strict=True):
        if two.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, atol=1e-6, rtol=1e-4)
    metrics = [{name: values[-1] for name, values in t._metrics["train"].items()} for t in (shared, plainly)]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-4)
    shared.train()


def test_shared_prefixes_with_a_precomputed_reference(make: Callable[..., Any]) -> None:
    shared, plainly = (make({"precompute_ref_log_probs": True}, share_prefix=share) for share in (True, False))
    torch.testing.assert_close(loss_of(shared), loss_of(plainly), atol=1e-6, rtol=1e-6)


@pytest.mark.skipif(not FUSED, reason="needs TRL 1.16 or later: pip install 'trl>=1.16'")
def test_trl_is_left_as_it_was(make: Callable[..., Any]) -> None:
    from trl.trainer import dpo_trainer
    from trl.trainer.utils import add_fused_lm_head

    make(share_prefix=True)
    assert dpo_trainer.add_fused_lm_head is add_fused_lm_head
