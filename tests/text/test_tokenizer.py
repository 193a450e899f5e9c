from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr_data.errors import ConfigError, RowRejected
from asr_data.text.gguf import parse_once
from asr_data.text.tokenizer import Tokenizer, load_tokenizer

UNICODE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
FAMILY = "👩\u200d👩\u200d👧"
HARD_TEXTS = [
    "plain",
    "  two spaces at both ends  ",
    FAMILY,
    "e\u0301 is not é",
    "二加二等于四。",
    "שלום עולם",
    "مرحبا",
    "\n\n\t",
    "🇩🇪🇫🇷 flags",
    "A\u0334\u0335\u0336",
    "a<|im_end|>b",
]


def spans(tokenizer: Tokenizer, text: str, special: bool = False) -> list[bytes]:
    encoding = tokenizer.encode(text, add_special_tokens=special)
    raw = text.encode()
    return [raw[a:b] for a, b in zip(encoding.start, encoding.end, strict=True)]


def check_cover(tokenizer: Tokenizer, text: str, special: bool) -> None:
    try:
        encoding = tokenizer.encode(text, add_special_tokens=special)
    except RowRejected as rejected:
        if rejected.code not in ("tokenizer_alters_text", "tokens_uncovered"):
            raise
        return
    assert encoding.ids == tokenizer.hf(text, add_special_tokens=special)["input_ids"]
    count = np.zeros(len(text.encode()), dtype=int)
    for start, end in zip(encoding.start, encoding.end, strict=True):
        count[start:end] += 1
    if text.strip():
        assert (count == 1).all()
    else:  # some vocabularies have no token for white space
        assert (count == 1).all() or not count.any()
    assert (np.diff(encoding.start) >= 0).all()
    assert (np.diff(encoding.end) >= 0).all()
    assert (encoding.start <= encoding.end).all()


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("text", HARD_TEXTS)
def test_every_byte_once(any_tokenizer: Tokenizer, text: str, special: bool) -> None:
    check_cover(any_tokenizer, text, special)


@pytest.mark.parametrize("kind", ["byte_level", "byte_level_nfc", "nfkc", "metaspace_bpe", "metaspace_unigram"])
@given(text=UNICODE, special=st.booleans())
@example(text="▁", special=False)
@example(text="\x85", special=True)
@settings(max_examples=80, deadline=None)
def test_every_byte_once_or_rejected(
    kind: str, text: str, special: bool, make_tokenizer: Callable[..., Tokenizer]
) -> None:
    check_cover(make_tokenizer(kind), text, special)


@given(text=UNICODE)
@settings(max_examples=80, deadline=None)
def test_word_piece_too(text: str, make_tokenizer: Callable[..., Tokenizer]) -> None:
    check_cover(make_tokenizer("word_piece"), text, special=True)


@given(text=UNICODE)
@settings(max_examples=80, deadline=None)
def test_byte_level_takes_any_text(text: str, make_tokenizer: Callable[..., Tokenizer]) -> None:
    assert b"".join(spans(make_tokenizer("byte_level"), text)) == text.encode()


@pytest.mark.parametrize("kind", ["byte_level", "byte_level_nfc", "nfkc"])
def test_byte_level_spans_are_the_tokens_own_bytes(kind: str, make_tokenizer: Callable[..., Tokenizer]) -> None:
    # No merge was learnt for the emoji: four tokens of one byte each, which share one character offset.
    assert spans(make_tokenizer(kind), "a😀") == [b"a", *(bytes([b]) for b in "😀".encode())]


def test_a_fallback_byte_has_its_own_byte(make_tokenizer: Callable[..., Tokenizer]) -> None:
    assert [s for s in spans(make_tokenizer("metaspace_bpe"), "a😀") if s][1:] == [bytes([b]) for b in "😀".encode()]


def test_white_space_belongs_to_the_token_after_it(make_tokenizer: Callable[..., Tokenizer]) -> None:
    found = spans(make_tokenizer("word_piece"), "the  answer \n", special=True)
    assert [s for s in found if s] == [b"the", b"  answer \n"]
    assert found[0] == b""
    assert found[-1] == b""


def test_bos_covers_nothing(make_tokenizer: Callable[..., Tokenizer]) -> None:
    encoding = make_tokenizer("metaspace_bpe").encode("the", add_special_tokens=True)
    assert encoding.ids[0] == 1
    assert (encoding.start[0], encoding.end[0]) == (0, 0)


def test_a_special_token_in_the_text_covers_its_letters(any_tokenizer: Tokenizer) -> None:
    assert b"<sep>" in [s.strip() for s in spans(any_tokenizer, "the <sep> answer", special=True)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("nfkc", "ﬁne"),  # the ligature becomes two letters
        ("nfkc", "x²"),
        ("byte_level_nfc", unicodedata.normalize("NFD", "Café")),
        ("metaspace_unigram", "a▁b"),
        ("metaspace_bpe", "a▁b"),
        ("word_piece", "日本"),  # unknown
    ],
)
def test_a_tokenizer_that_alters_the_text(kind: str, text: str, make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer(kind)
    assert tokenizer.hf.decode(tokenizer.hf(text, add_special_tokens=False)["input_ids"]) != text
    with pytest.raises(RowRejected) as caught:
        tokenizer.encode(text, add_special_tokens=False)
    assert caught.value.code == "tokenizer_alters_text"


@pytest.mark.parametrize("kind", ["nfkc", "byte_level_nfc"])
def test_a_normaliser_that_changes_nothing_is_fine(kind: str, make_tokenizer: Callable[..., Tokenizer]) -> None:
    assert b"".join(spans(make_tokenizer(kind), "Café 二")) == "Café 二".encode()


def test_decomposed_accents_survive_byte_level(make_tokenizer: Callable[..., Tokenizer]) -> None:
    text = unicodedata.normalize("NFD", "Café")
    assert b"".join(spans(make_tokenizer("byte_level"), text)) == text.encode()


def test_fingerprint_depends_on_template_and_vocabulary(make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizers = [make_tokenizer("byte_level"), make_tokenizer("byte_level", "trimming"), make_tokenizer("nfkc")]
    assert len({t.fingerprint for t in tokenizers}) == 3
    again = Tokenizer(make_tokenizer("byte_level").hf, "another name")
    assert again.fingerprint == tokenizers[0].fingerprint


def test_saved_and_loaded(tmp_path: Path, make_tokenizer: Callable[..., Tokenizer]) -> None:
    tokenizer = make_tokenizer("byte_level")
    tokenizer.hf.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.name == str(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("über", add_special_tokens=True).ids == tokenizer.encode("über", add_special_tokens=True).ids


def test_no_tokenizer_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    slow: Any = Slow()
    with pytest.raises(ConfigError, match="'slow' has no fast backend"):
        Tokenizer(slow, "slow")


def test_fingerprint_covers_what_decides_ids(make_tokenizer: Callable[..., Tokenizer], tmp_path: Path) -> None:
    from tokenizers import AddedToken, normalizers, processors

    make_tokenizer("byte_level", "chatml").hf.save_pretrained(tmp_path)

    def edited(change: Callable[[Any], object]) -> str:
        hf = load_tokenizer(tmp_path).hf
        change(hf)
        return Tokenizer(hf, "edited").fingerprint

    def post_processor(hf: Any) -> None:
        hf.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", hf.convert_tokens_to_ids("<|endoftext|>"))]
        )

    def normalizer(hf: Any) -> None:
        hf.backend_tokenizer.normalizer = normalizers.NFC()

    changes: list[Callable[[Any], object]] = [
        lambda hf: setattr(hf, "split_special_tokens", True),
        lambda hf: hf.add_tokens([AddedToken("answer", normalized=False)]),
        lambda hf: hf.add_special_tokens({"additional_special_tokens": ["<|tool|>"]}),
        lambda hf: setattr(hf, "chat_template", "{{ messages }}"),
        lambda hf: setattr(hf, "eos_token", "<sep>"),
        post_processor,
        normalizer,
    ]
    before = edited(lambda _: None)
    assert before == edited(lambda hf: hf.backend_tokenizer.enable_truncation(8))
    assert len({before, *map(edited, changes)}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", '{"version": "1.0"'),
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "BPE2"}}'),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n"),
        ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": "<x>"}'),
    ],
)
def test_files_that_are_no_tokenizers(
    file: str, content: str, make_tokenizer: Callable[..., Tokenizer], tmp_path: Path
) -> None:
    make_tokenizer("byte_level").hf.save_pretrained(tmp_path)
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot load a tokenizer from"):
        load_tokenizer(tmp_path)


def test_an_error_of_several_lines_is_cut_to_its_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("the first of all\n  the second\n\nthe last\n")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", fails)
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(tmp_path)
    said, _, wanted = str(caught.value).partition("; ")
    assert said == f"cannot load a tokenizer from {str(tmp_path)!r}: the first of all"
    assert "\n" not in wanted


def test_a_gguf_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    from transformers import modeling_gguf_pytorch_utils as reading

    calls: list[tuple[str, bool]] = []

    def parse(path: Any, return_tensors: bool = False, **_: Any) -> dict[str, Any]:
        calls.append((str(path), return_tensors))
        return {"config": {"layers": 2}}

    monkeypatch.setattr(reading, "load_gguf_checkpoint", parse)
    file = str(tmp_path / "model.gguf")  # of this test alone: what was parsed is kept
    with parse_once():
        reading.load_gguf_checkpoint(file)["config"]["layers"] = 7  # its reader may change what it gets
        with parse_once():
            assert reading.load_gguf_checkpoint(file) == {"config": {"layers": 2}}
        assert reading.load_gguf_checkpoint(file, return_tensors=False) == {"config": {"layers": 2}}
        reading.load_gguf_checkpoint(file, return_tensors=True)
    assert calls == [(file, False), (file, True)]
    assert reading.load_gguf_checkpoint is parse
