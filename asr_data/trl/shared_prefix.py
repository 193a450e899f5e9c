"""Training passes that compute a shared prefix once: both sides of a pair, all answers to a prompt.

TRL's trainers ask a model for per-token log-probabilities in one place: its forward pass with ``fused_lm_head=True``.
:func:`share_prefixes` answers there from token trees (:mod:`asr_data.scoring.tree`), in the layout that was asked for.
So every loss of theirs, the reference model and PEFT adapters work as before. Only positions that have a label go
through the language-model head.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asr_data.errors import ConfigError
from asr_data.scoring.engine import one_batch
from asr_data.scoring.tree_attention import read_places, tree_states, why_not_tree
from asr_data.scoring.tree_kernels import set_tree_attention

_CHUNK = 512
"""Positions whose logits are in memory at once."""
_UNSUPPORTED = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling", "final_logit_softcapping")


def share_prefixes(model: Any) -> None:
    """Patch a causal language model that has TRL's fused head, so that shared prefixes are computed once.

    Args:
        model: a ``transformers`` causal language model, not wrapped in PEFT; ``trl`` must have patched it already.

    Raises:
        ConfigError: the decoder does not support trees, or scales its logits in an unknown way.
    """
    reason = why_not_tree(model.base_model)
    text = model.config.get_text_config()
    scaled = [name for name in _UNSUPPORTED if getattr(text, name, None) not in (None, 1.0)]
    if reason is None and scaled:
        reason = f"its settings have {', '.join(scaled)}"
    if reason is not None:
        raise ConfigError(f"prefixes cannot be shared in a {type(model).__name__}: {reason}")
    set_tree_attention(model)  # for good: gradient checkpointing runs layers again after the pass
    fused = model.forward

    @functools.wraps(fused)
    def forward(self: Any, *arguments: Any, **settings: Any) -> Any:
        if settings.get("fused_lm_head") and settings.get("labels") is not None:
            return _tree_forward(self, *arguments, **settings)
        return fused(*arguments, **settings)

    model.forward = types.MethodType(forward, model)


def _tree_forward(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    labels: Tensor,
    fused_lm_head: bool = True,  # noqa: ARG001 - says that this forward is asked for
    use_cache: bool = False,  # noqa: ARG001 - never with trees
    **unknown: Any,
) -> Any:
    """What TRL's fused forward gives, from trees; float ``[batch, time − 1]`` fields."""
    from trl.trainer.utils import FusedCausalLMOutput

    # PEFT fills in arguments that were not given.
    asked = sorted(name for name, value in unknown.items() if name != "return_dict" and value not in (None, False))
    if asked:
        raise ConfigError(f"prefixes cannot be shared in a forward pass with {', '.join(asked)}")
    present = [mask.nonzero()[:, 0].tolist() for mask in attention_mask.cpu()]
    sequences = [[ids[at] for at in own] for ids, own in zip(input_ids.tolist(), present, strict=True)]
    trees = one_batch(sequences)
    states = tree_states(model.base_model, trees)
    labelled = labels[:, 1:] != -100
    row, column = labelled.nonzero(as_tuple=True)
    # Positions count from the first token that is no padding.
    predicting = [(of.nonzero()[:, 0] - own[0]).tolist() for of, own in zip(labelled.cpu(), present, strict=True)]
    places = read_places(trees, predicting)
    read = torch.from_numpy(np.concatenate([places[i] for i in range(len(predicting))]))
    hidden = states[read.to(states.device)]
    target = labels[row, column + 1]
    head = model.get_output_embeddings()
    parts = [
        checkpoint(_log_probs, head, hidden[i : i + _CHUNK], target[i : i + _CHUNK], use_reentrant=False)
        for i in range(0, len(target), _CHUNK)
    ]
    shape = (len(labels), labels.shape[1] - 1)
    # The sum ties the output to the model where no label is left: a differentiable zero, as in TRL.
    empty = states.new_zeros(shape, dtype=torch.float32) + 0 * states.sum(dtype=torch.float32)
    fields = [torch.cat([p[k] for p in parts]) if parts else empty.new_zeros(0) for k in range(5)]
    log_probs, entropy, squared, mean, top = (empty.index_put((row, column), field) for field in fields)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / labelled.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=entropy.detach(),
        log_sum_sq_probs=squared.detach(),
        mean_logits=mean.detach(),
        is_top1=top.detach().bool(),
        label_mask=labelled,
    )


def _log_probs(head: nn.Module, hidden: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Log-probability of each target; without gradient entropy, log Σ p², mean logit, 1 where the target leads.

    All float32 ``[n]``.
    """
    logits = head(hidden).float()
    log_probs = logits - logits.logsumexp(dim=-1, keepdim=True)
    with torch.no_grad():
        entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
        squared = (2 * log_probs).logsumexp(dim=-1)
        top = (logits.argmax(dim=-1) == target).float()
    return log_probs.gather(1, target[:, None])[:, 0], entropy, squared, logits.detach().mean(dim=-1), top
