"""On-line DPO and on-line rejection sampling: masks by verdict, losses by hand, refusals by version, and training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from asr_data.errors import ConfigError

from .conftest import assert_same_gradients, messages, plain, token_logps
from .test_grpo import PROMPTS, letters, scorer

trl = pytest.importorskip("trl", reason="needs trl: pip install 'asr-data[train]'")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*trl.experimental.*"),
    pytest.mark.skipif(not trl.__version__.startswith("1.16."), reason="needs TRL 1.16: pip install trl==1.16"),
]
KINDS = ("AdaptiveOnlineDPOTrainer", "AdaptiveOnlineRSTrainer")


@pytest.fixture
def make(policy: Path, common: dict[str, Any], tokenizer: Any) -> Callable[..., Any]:
    """A trainer whose policy differs from its reference."""

    def build(kind: str, config: dict[str, Any] | None = None, **settings: Any) -> Any:
        import asr_data.trl

        if kind == "AdaptiveOnlineDPOTrainer":
            from trl.experimental.online_dpo import OnlineDPOConfig

            own: dict[str, Any] = {"per_device_train_batch_size": 2, "max_new_tokens": 12, "max_length": 128}
            args: Any = OnlineDPOConfig(**{**common, **own, "max_steps": 1, **(config or {})})
        else:
            own = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 12, "beta": 0.05}
            args = trl.GRPOConfig(**{**common, **own, "max_steps": 1, **(config or {})})
        trainer = getattr(asr_data.trl, kind)(
            model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
            reward_funcs=letters,
            args=args,
            train_dataset=Dataset.from_list([{"prompt": messages("user", prompt)} for prompt in PROMPTS]),
            processing_class=tokenizer,
            **{"scorer": scorer(), "mask": {"segmenter": "token", "baseline": 0.0}, **settings},
        )
        with torch.no_grad():
            for number, parameter in enumerate(p for p in trainer.model.parameters() if p.requires_grad):
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        return trainer

    return build


def noting(trainer: Any) -> list[tuple[Any, Any]]:
    """What goes into the masks of a trainer, and the masks."""
    noted, cut = [], trainer._online

    def note(sampled: Any) -> Any:
        found = cut(sampled)
        noted.append((sampled, found[0]))
        return found

    trainer._online = note
    return noted


def weighted_sums(model: Any, tokenizer: Any, sampled: Any, mask: Any) -> list[Any]:
    sums = []
    for prompt, ids, valid, own in zip(sampled.prompts, sampled.ids, sampled.valid.bool(), mask, strict=True):
        before = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        logps = token_logps(model, before + ids[valid].tolist())[len(before) :]
        sums.append((logps * own[: len(logps)]).sum())
    return sums


@pytest.mark.parametrize("weights", ["mask", "segment"])
def test_dpo_is_the_masked_loss_of_what_was_sampled(
    weights: str, make: Callable[..., Any], policy: Path, tokenizer: Any
) -> None:
    trainer = make(KINDS[0], mask={"segmenter": "token", "baseline": 0.0, "weights": weights})
    other, reference = plain(trainer.model), AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    noted = noting(trainer)
    torch.manual_seed(3)
    trainer.model.zero_grad()
    loss = trainer.training_step(trainer.model, {"prompt": [messages("user", prompt) for prompt in PROMPTS]})
    [(sampled, mask)] = noted
    kept, valid = mask > 0, sampled.valid.bool()
    assert 0 < int((kept & valid).sum()) < int(valid.sum())
    rewards = letters([[{"content": tokenizer.decode(ids, skip_special_tokens=True)}] for ids in sampled.ids])
    assert sampled.preferred.tolist() == [
        *(a >= b for a, b in zip(rewards[:2], rewards[2:], strict=True)),
        *(a < b for a, b in zip(rewards[:2], rewards[2:], strict=True)),
    ]
    sums = weighted_sums(other, tokenizer, sampled, mask.float())
    with torch.no_grad():
        base = weighted_sums(reference, tokenizer, sampled, mask.float())
    ratios = [own - ref for own, ref in zip(sums, base, strict=True)]
    signs = [1.0 if good else -1.0 for good in sampled.preferred]
    losses = [-logsigmoid(0.1 * (signs[i] * ratios[i] + signs[i + 2] * ratios[i + 2])) for i in range(2)]
    expected = torch.stack(losses).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), atol=1e-6, rtol=1e-5)
    assert_same_gradients(trainer.model, other)
    assert trainer.stats["mask/kept"] == pytest.approx([float((kept & valid).sum() / valid.sum())])
    assert trainer.stats["mask/scored"] == [1.0]


@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize("weights", ["mask", "segment"])
def test_rs_is_equation_11_over_the_best(
    weights: str, beta: float, make: Callable[..., Any], policy: Path, tokenizer: Any
) -> None:
    trainer = make(KINDS[1], {"beta": beta}, mask={"segmenter": "token", "baseline": 0.0, "weights": weights})
    other, reference = plain(trainer.model), AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    noted = noting(trainer)
    trainer.model.train()
    torch.manual_seed(0)
    rows = [{"prompt": messages("user", prompt)} for prompt in PROMPTS for _ in range(2)]
    output = dict(trainer._generate_and_score_completions(rows))
    [(sampled, _)] = noted
    rewards = letters([[{"content": tokenizer.decode(ids, skip_special_tokens=True)}] for ids in sampled.ids])
    best = [rewards[0] >= rewards[1], rewards[0] < rewards[1], rewards[2] >= rewards[3], rewards[2] < rewards[3]]
    assert sampled.preferred.tolist() == best
    mask = output["tool_mask"]
    assert [bool(row.any()) for row in mask] == best
    assert mask.is_floating_point() == (weights == "segment")
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, output)
    loss.backward()
    other.zero_grad()
    total = []
    for prompt, ids, valid, own in zip(sampled.prompts, sampled.ids, sampled.valid.bool(), mask, strict=True):
        before = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        logps = token_logps(other, before + ids[valid].tolist())[len(before) :]
        with torch.no_grad():
            base = token_logps(reference, before + ids[valid].tolist())[len(before) :]
        kl = (base - logps).exp() - (base - logps) - 1
        total.append(((-logps + beta * kl) * own[: len(logps)]).sum())
    expected = torch.stack(total).sum() / (mask * output["completion_mask"]).sum()
    expected.backward()
    torch.testing.assert_close(loss.detach(), expected.detach(), atol=1e-5, rtol=1e-5)
    assert_same_gradients(trainer.model, other)
    assert bool(trainer._metrics["train"]["kl"]) == (beta > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains(kind: str, make: Callable[..., Any]) -> None:
    trainer = make(kind, {"max_steps": 2})
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "mask/kept" in entry]
    assert logged
    assert 0 < logged[-1]["mask/kept"] <= 1
    assert logged[-1]["mask/scored"] == 1
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_completions_that_the_scorer_refuses_keep_all(kind: str, make: Callable[..., Any]) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("no")

    trainer = make(kind, scorer=scorer(refuse))
    noted = noting(trainer)
    trainer.train()
    for sampled, mask in noted:
        assert torch.equal(mask.bool(), sampled.valid.bool())


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_would_be_wrong(kind: str, make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="without a reward"):
        make(kind, scorer=scorer(partial=True))
    for wrong in (None, "builtin"):
        with pytest.raises(ConfigError, match=rf"scorer is {wrong!r}; it must be a scorer, as asr_data.load_scorer"):
            make(kind, scorer=wrong)
    with pytest.raises(ConfigError, match="preferred cannot be set in mask"):
        make(kind, mask={"preferred": None})
    with pytest.raises(ConfigError, match="no S_ref_logp"):
        make(kind, mask={"weights": "confidence"})
    with pytest.raises(ConfigError, match='expected "mask", "segment"'):
        make(kind, mask={"weights": "loud"})


@pytest.mark.parametrize("kind", KINDS)
def test_another_trl_is_named(kind: str, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr_data.trl.helpers.version", lambda _: "1.17.2")
    with pytest.raises(ConfigError, match=rf"{kind} stands on inner parts of TRL 1\.16; this is TRL 1\.17\.2"):
        make(kind)


def test_ppo_is_refused_with_the_reason() -> None:
    import asr_data.trl

    with pytest.raises(ConfigError, match=r"TRL has no PPO trainer .*1\.14 to 1\.16.*AdaptiveGRPOTrainer is eq\. 9"):
        _ = asr_data.trl.AdaptivePPOTrainer
    from trl import experimental

    assert not any(hasattr(place, "PPOTrainer") for place in (trl, experimental)), "TRL has one again: use it"


def test_a_trl_without_the_experimental_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import asr_data.trl

    monkeypatch.setitem(sys.modules, "trl.experimental.online_dpo", None)
    monkeypatch.delitem(sys.modules, "asr_data.trl.online_dpo", raising=False)
    with pytest.raises(ConfigError, match=r"needs trl.experimental.online_dpo, as in TRL 1\.16; this is TRL 1\.16"):
        _ = asr_data.trl.AdaptiveOnlineDPOTrainer


def test_a_trl_without_what_is_used_is_named(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.experimental.online_dpo import OnlineDPOTrainer

    import asr_data.trl

    kind = asr_data.trl.AdaptiveOnlineDPOTrainer
    assert issubclass(kind, OnlineDPOTrainer)
    monkeypatch.delattr(OnlineDPOTrainer, "_forward")
    with pytest.raises(ConfigError, match=r"this is TRL 1\.16\.\d+, whose OnlineDPOTrainer has no _forward"):
        make(KINDS[0])
