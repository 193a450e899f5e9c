from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from asr_data import file_hashes
from asr_data.errors import ScorerError
from asr_data.file_hashes import FileHashes

LONG_AGO = 1_700_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "_LARGE", 8)
    return tmp_path / "cache" / "asr-data" / "hashes"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that were read."""
    found: list[str] = []
    real = file_hashes.file_sha256

    def counting(path: Path) -> bytes:
        found.append(path.name)
        return real(path)

    monkeypatch.setattr(file_hashes, "file_sha256", counting)
    return found


def write(path: Path, content: bytes = b"some weights", at: int = LONG_AGO) -> Path:
    path.write_bytes(content)
    os.utime(path, (at, at))
    return path


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def test_a_file_is_read_once(tmp_path: Path, reads: list[str], cache: Path) -> None:
    path = write(tmp_path / "model.safetensors")
    assert [FileHashes().sha256(path) for _ in range(3)] == [sha256(b"some weights")] * 3
    assert reads == ["model.safetensors"]
    (entry,) = cache.iterdir()
    assert json.loads(entry.read_text(encoding="utf-8"))["sha256"] == sha256(b"some weights").hex()


def test_another_path_to_the_same_file(tmp_path: Path, reads: list[str]) -> None:
    path = write(tmp_path / "model.safetensors")
    (tmp_path / "link").symlink_to(path)
    assert FileHashes().sha256(path) == FileHashes().sha256(tmp_path / "link")
    assert reads == ["model.safetensors"]


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(tmp_path: Path, reads: list[str], change: str) -> None:
    path = write(tmp_path / "w")
    FileHashes().sha256(path)
    if change == "size":
        write(path, b"other weights")
    elif change == "time":
        write(path, b"more weights", LONG_AGO + 1)
    else:
        write(tmp_path / "new", b"more weights").replace(path)
    assert FileHashes().sha256(path) == sha256(path.read_bytes())
    assert reads == ["w", "w"]


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"some weights")
    FileHashes().sha256(path)
    FileHashes().sha256(path)
    assert reads == ["w", "w"]


def test_small_files_are_not_remembered(tmp_path: Path, cache: Path) -> None:
    FileHashes().sha256(write(tmp_path / "config.json", b"{}"))
    assert not cache.exists()


def test_verify_reads_all_the_same(tmp_path: Path, reads: list[str], caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "w")
    FileHashes().sha256(path)
    kept = path.stat()
    path.write_bytes(b"bit-flipped!")  # in place, of the same size, and the time set back
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert FileHashes().sha256(path) == sha256(b"some weights")  # what --verify is for
    assert FileHashes(verify=True).sha256(path) == sha256(b"bit-flipped!")
    assert "its content changed" in caplog.text
    assert FileHashes().sha256(path) == sha256(b"bit-flipped!")
    assert reads == ["w", "w"]


def test_without_the_cache(tmp_path: Path, reads: list[str], cache: Path) -> None:
    path = write(tmp_path / "w")
    FileHashes(remember=False).sha256(path)
    FileHashes(remember=False).sha256(path)
    assert reads == ["w", "w"]
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"path": 1}', "{" * 9000, '{"sha256": "00"}'])
def test_a_damaged_entry_is_written_anew(tmp_path: Path, reads: list[str], cache: Path, content: str) -> None:
    path = write(tmp_path / "w")
    FileHashes().sha256(path)
    (entry,) = cache.iterdir()
    entry.write_text(content, encoding="utf-8")
    assert FileHashes().sha256(path) == sha256(b"some weights") == FileHashes().sha256(path)
    assert reads == ["w", "w"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    assert FileHashes().sha256(write(tmp_path / "w")) == sha256(b"some weights")


def test_only_so_many_are_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "_KEPT", 3)
    for number in range(5):
        FileHashes().sha256(write(tmp_path / f"{number}", b"weights %d" % number))
    assert len(list(cache.iterdir())) == 3


def hub_file(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, name: str | None = None) -> Path:
    """A link into the blobs of a Hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--owner--name"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots" / "main").mkdir(parents=True)
    blob = write(model / "blobs" / (name or sha256(content).hex()), content)
    link = model / "snapshots" / "main" / "model.safetensors"
    link.symlink_to(blob)
    return link


def test_the_hubs_files_are_named_by_their_hash(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub_file(tmp_path, b"hub weights", monkeypatch)
    assert FileHashes().sha256(path) == FileHashes(remember=False).sha256(path) == sha256(b"hub weights")
    assert reads == []
    assert FileHashes(verify=True).sha256(path) == sha256(b"hub weights")
    assert len(reads) == 1


def test_a_damaged_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_file(tmp_path, b"hub weights", monkeypatch, sha256(b"other weights").hex())
    with pytest.raises(ScorerError, match=r"model\.safetensors: the file is damaged: its SHA-256 is"):
        FileHashes(verify=True).sha256(path)


def test_small_files_of_the_hub_are_named_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_file(tmp_path, b"{}", monkeypatch, "0" * 40)  # git's own hash, of SHA-1
    assert FileHashes().sha256(path) == sha256(b"{}")


def test_a_name_outside_of_the_hubs_cache_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_file(tmp_path, b"some weights", monkeypatch, "0" * 64)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert FileHashes().sha256(path) == sha256(b"some weights")
