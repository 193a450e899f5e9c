"""Shared prefixes against TRL's own forward pass: outputs, gradients, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig

from asr_data.errors import ConfigError
from asr_data.trl.shared_prefix import share_prefixes

trl_utils = pytest.importorskip("trl.trainer.utils", reason="needs trl: pip install 'asr-data[train]'")
if not hasattr(trl_utils, "add_fused_lm_head"):
    pytest.skip("needs TRL 1.16 or later: pip install 'trl>=1.16'", allow_module_level=True)

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}


def language_model(config: PreTrainedConfig | None = None) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config or LlamaConfig(**SIZES), dtype=torch.float32)
    trl_utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "log_sum_sq_probs"))
    return model


def batch(seed: int = 0, pairs: int = 3, padding: str = "right") -> dict[str, Tensor]:
    """Chosen then rejected, prompts shared, some tokens masked; one row has no label at all."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(1, 96, (length,), generator=generator).tolist()

    prompts = [ids(6 + 5 * i) for i in range(pairs)]
    rows = [p + ids(3 + 2 * i) for side in range(2) for i, p in enumerate(prompts, start=side)]
    width = max(map(len, rows)) + 2
    out = {name: torch.zeros(len(rows), width, dtype=torch.int64) for name in ("input_ids", "attention_mask", "labels")}
    out["labels"] -= 100
    for r, row in enumerate(rows):
        at = slice(0, len(row)) if padding == "right" else slice(width - len(row), width)
        first = len(prompts[r % pairs])
        kept = torch.rand(len(row), generator=generator) < 0.6
        kept[:first] = False
        if r == 1:
            kept[:] = False
        out["input_ids"][r, at] = torch.tensor(row)
        out["attention_mask"][r, at] = 1
        out["labels"][r, at] = torch.where(kept, torch.tensor(row), -100)
    return out


def gradients(model: Any, given: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    model.zero_grad()
    output = model(**given, fused_lm_head=True, use_cache=False)
    weights = torch.randn(output.log_probs.shape, generator=torch.Generator().manual_seed(9))
    (output.log_probs * weights).sum().backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize(
    "config", [LlamaConfig(**SIZES), MistralConfig(**SIZES, sliding_window=8)], ids=["llama", "window"]
)
def test_equal_to_the_plain_pass(padding: str, config: PreTrainedConfig) -> None:
    given = batch(padding=padding)
    if padding == "left":  # the plain pass has to be told where each row begins
        plain_given = {**given, "position_ids": (given["attention_mask"].cumsum(1) - 1).clamp(min=0)}
    else:
        plain_given = given
    expected, wanted = gradients(language_model(config), plain_given)
    shared = language_model(config)
    share_prefixes(shared)
    output, got = gradients(shared, given)
    for field in ("log_probs", "entropy", "log_sum_sq_probs"):
        torch.testing.assert_close(getattr(output, field), getattr(expected, field), atol=1e-5, rtol=1e-5)
    assert torch.equal(output.label_mask, expected.label_mask)
    torch.testing.assert_close(output.loss, expected.loss)
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            got[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_prefixes_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = language_model()
    share_prefixes(shared)
    seen: list[int] = []
    original = shared.base_model.forward

    def counting(*arguments: Any, **settings: Any) -> Any:
        seen.append(settings["input_ids"].numel())
        return original(*arguments, **settings)

    monkeypatch.setattr(shared.base_model, "forward", counting)
    given = batch()
    shared(**given, fused_lm_head=True)
    assert seen[0] < given["attention_mask"].sum()


def test_logits_are_computed_where_a_token_is_trained_on_and_nowhere_else() -> None:
    shared = language_model()
    share_prefixes(shared)
    rows: list[int] = []
    shared.lm_head.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    given = batch()
    with torch.no_grad():
        shared(**given, fused_lm_head=True)
    assert sum(rows) == int((given["labels"][:, 1:] != -100).sum()) < int(given["attention_mask"].sum())


def test_nothing_to_predict_is_a_differentiable_zero() -> None:
    given = batch()
    given["labels"][:] = -100
    shared = language_model()
    share_prefixes(shared)
    output = shared(**given, fused_lm_head=True)
    output.log_probs.sum().backward()
    assert not output.log_probs.detach().any()
    assert not any(p.grad is not None and p.grad.any() for p in shared.parameters())


def test_other_passes_are_untouched() -> None:
    shared, plain = language_model(), language_model()
    share_prefixes(shared)
    ids = batch()["input_ids"]
    assert torch.equal(shared(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_what_is_refused() -> None:
    from transformers import BloomConfig, Gemma2Config

    with pytest.raises(ConfigError, match="does not accept a mask"):
        share_prefixes(language_model(BloomConfig(vocab_size=96, hidden_size=32, n_layer=1, n_head=2)))
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        share_prefixes(language_model(Gemma2Config(**SIZES, head_dim=8)))
    shared = language_model()
    share_prefixes(shared)
    with pytest.raises(ConfigError, match="output_router_logits"):
        shared(**batch(), fused_lm_head=True, output_router_logits=True)
