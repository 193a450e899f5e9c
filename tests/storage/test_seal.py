from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from asr_data.errors import CorruptFileError
from asr_data.storage.seal import parse_json, sealed_json, unsealed

HERE = Path("a.json")
CONTENT = {"name": "é", "digest": "0" * 64, "counts": {"rows": 3, "sigma": 0.1}}


def test_the_seal_is_the_hash_of_the_text_with_zeros_in_its_place() -> None:
    data = sealed_json(CONTENT)
    digest = json.loads(data)["sha256"]
    assert data.endswith(f'"sha256": "{digest}"\n}}\n'.encode())
    assert digest == hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest()
    assert unsealed(HERE, data) == CONTENT


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    data = sealed_json(CONTENT)
    for at in range(len(data)):
        damaged = [data[:at]] + [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for bit in range(8)]
        for content in damaged:
            with pytest.raises(CorruptFileError, match=r"a\.json: (is not JSON|the file changed|is not a JSON object)"):
                unsealed(HERE, content)


@pytest.mark.parametrize("digest", [None, 3, "", "é" * 64, "0" * 64])
def test_without_its_hash_it_is_not_taken(digest: object) -> None:
    with pytest.raises(CorruptFileError, match="the file changed"):
        unsealed(HERE, json.dumps({**CONTENT, "sha256": digest}).encode())


def test_what_no_parser_takes() -> None:
    for data in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(CorruptFileError, match=r"a\.json: is not JSON"):
            parse_json(HERE, data)
