"""Heads are compared with the whole language model, as transformers loads and runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_data.errors import ScorerError
from asr_data.scoring.config import ImplicitConfig
from asr_data.scoring.decoder import Decoder, load_decoder
from asr_data.scoring.language_head import load_language_head

FAMILIES = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "mixtral": {},
    "gemma2": {"final_logit_softcapping": 1.0, "tie_word_embeddings": True},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
    "phi": {},  # the head has a bias
    "gpt_neox": {},  # its head has another name in the file
    "gpt2": {"tie_word_embeddings": True},
}
IDS = torch.arange(3, 20)[None]


@pytest.fixture(autouse=True)
def no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def save(directory: Path, family: str, **more: Any) -> Any:
    """A causal language model with random weights, biases included."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(family, vocab_size=97, initializer_range=0.3, **sizes, **special, **more)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        bias = getattr(model.get_output_embeddings(), "bias", None)
        if bias is not None:
            torch.nn.init.normal_(bias)
    model.save_pretrained(directory)
    return model


def decoder_of(directory: Path, dtype: torch.dtype = torch.float32, backbone: str | None = None) -> Decoder:
    return load_decoder(ImplicitConfig(backbone=backbone), directory, torch.device("cpu"), dtype, pickles=False)


def states(decoder: Decoder) -> Tensor:
    with torch.inference_mode():
        out: Tensor = decoder.model(IDS, use_cache=False).last_hidden_state[0]
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_whole_models(family: str, tmp_path: Path) -> None:
    model = save(tmp_path, family, **FAMILIES[family])
    decoder = decoder_of(tmp_path)
    head = load_language_head(decoder)
    with torch.inference_mode():
        logits, wanted = head(states(decoder)), model(IDS, use_cache=False).logits[0]
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)
    assert logits.std() > 0.05
    assert head.vocabulary == 97
    assert head.rows == 2**26 // (4 * 97)


@pytest.mark.parametrize("family", ["gemma2", "cohere", "granite"])
def test_weights_alone_would_not_give_them(family: str, tmp_path: Path) -> None:
    model = save(tmp_path, family, **FAMILIES[family])
    hidden = states(decoder_of(tmp_path))
    with torch.inference_mode():
        product = hidden @ model.get_output_embeddings().weight.T
        assert (product - model(IDS, use_cache=False).logits[0]).abs().max() > 0.1


def test_a_head_of_its_own_counts_though_the_config_ties_it(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = save(tmp_path, "llama")
    model.config.tie_word_embeddings = True
    model.config.save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    decoder = decoder_of(tmp_path)
    with torch.inference_mode():
        logits = load_language_head(decoder)(states(decoder))
        torch.testing.assert_close(logits, theirs(IDS, use_cache=False).logits[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(logits, model(IDS, use_cache=False).logits[0], atol=1e-5, rtol=0)


def test_logits_are_in_float32(tmp_path: Path) -> None:
    model = save(tmp_path, "llama")
    decoder = decoder_of(tmp_path, torch.bfloat16)
    hidden = states(decoder)
    with torch.inference_mode():
        logits = load_language_head(decoder)(hidden)
        torch.testing.assert_close(logits, hidden.float() @ model.lm_head.weight.T, atol=1e-5, rtol=0)
    assert hidden.dtype == torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_a_large_output_embedding_is_multiplied_piece_by_piece(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(tmp_path, family, **FAMILIES[family])
    model.to(torch.bfloat16).float().save_pretrained(tmp_path)  # nothing is left to be rounded
    decoder = decoder_of(tmp_path, torch.bfloat16)
    hidden, whole = states(decoder), load_language_head(decoder)
    monkeypatch.setattr("asr_data.scoring.language_head._WIDE_BYTES", 0)
    monkeypatch.setattr("asr_data.scoring.language_head._PIECE_BYTES", 4 * 32 * 10)  # ten tokens
    head = load_language_head(decoder)
    assert [p.dtype for p in head.parameters() if p.shape == (97, 32)] == [torch.bfloat16]
    assert [p.dtype for p in whole.parameters() if p.shape == (97, 32)] == [torch.float32]
    with torch.inference_mode():
        logits = head(hidden)
        torch.testing.assert_close(logits, whole(hidden), atol=1e-5, rtol=1e-5)
    assert logits.dtype == torch.float32
    assert logits.shape == (len(hidden), 97)


def test_a_large_tied_output_embedding_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "llama", tie_word_embeddings=True)
    decoder = decoder_of(tmp_path, torch.bfloat16)
    monkeypatch.setattr("asr_data.scoring.language_head._WIDE_BYTES", 0)
    (weight,) = load_language_head(decoder).parameters()
    shared = decoder.model.get_input_embeddings().weight  # type: ignore[operator] # HF models
    assert weight.data_ptr() == shared.data_ptr()


def test_a_packaged_backbone_has_a_tied_head(tmp_path: Path) -> None:
    model = save(tmp_path, "llama", tie_word_embeddings=True)
    decoder = replace(decoder_of(tmp_path), checkpoint=None)
    hidden = states(decoder)
    (tmp_path / "model.safetensors").unlink()  # what is in a package lies elsewhere
    with torch.inference_mode():
        logits = load_language_head(decoder)(hidden)
        torch.testing.assert_close(logits, model(IDS, use_cache=False).logits[0], atol=1e-5, rtol=0)


def test_a_packaged_backbone_without_a_tied_head(tmp_path: Path) -> None:
    save(tmp_path, "llama")
    with pytest.raises(ScorerError, match=r"packaged backbone: missing \['lm_head.weight'\].*\(tie_word_embeddings"):
        load_language_head(replace(decoder_of(tmp_path), checkpoint=None))


def test_a_backbone_beside_the_scorer(tmp_path: Path) -> None:
    model = save(tmp_path / "base", "llama")
    decoder = decoder_of(tmp_path, backbone="base")
    with torch.inference_mode():
        logits = load_language_head(decoder)(states(decoder))
        torch.testing.assert_close(logits, model(IDS, use_cache=False).logits[0], atol=1e-5, rtol=0)


def test_no_language_model(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes))
    cpu = torch.device("cpu")
    decoder = Decoder(model, tmp_path, tmp_path, None, frozenset(), hidden=32, vocabulary=1, device=cpu)
    with pytest.raises(ScorerError, match="no language model of type 'vit'"):
        load_language_head(decoder)


def test_a_family_whose_head_cannot_be_had_alone(tmp_path: Path) -> None:
    save(tmp_path, "opt", ffn_dim=64, word_embed_proj_dim=32, tie_word_embeddings=True)
    with pytest.raises(ScorerError, match="the head of OPTForCausalLM cannot be computed by itself"):
        load_language_head(decoder_of(tmp_path))
