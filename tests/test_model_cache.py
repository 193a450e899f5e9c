from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from asr_data.model_cache import cache_root, entry_key, find_entry, keep_entry, remember, was_found


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_root()


def write(folder: Path) -> None:
    (folder / "a.txt").write_text("content", encoding="utf-8")


def test_what_is_kept_is_found(root: Path) -> None:
    assert find_entry("key") is None
    keep_entry("key", write)
    assert find_entry("key") == root / "key"
    assert (root / "key" / "a.txt").read_text(encoding="utf-8") == "content"
    assert [path.name for path in root.iterdir()] == ["key"]


@pytest.mark.parametrize("name", ["a.txt", "entry.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_noticed_and_cleared(root: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    keep_entry("key", write)
    path = root / "key" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"" if damage == "cut" else bytes([content[-1] ^ 1])))
    with caplog.at_level(logging.WARNING):
        assert find_entry("key") is None
    assert "it is rebuilt" in caplog.text
    assert not (root / "key").exists()
    keep_entry("key", write)
    assert find_entry("key") is not None


@pytest.mark.parametrize("recorded", ["[]", "3", '{"a.txt": 3}', '{"a.txt": [7]}', "{"])
def test_an_odd_record_is_damage(root: Path, recorded: str) -> None:
    keep_entry("key", write)
    (root / "key" / "entry.json").write_text(recorded, encoding="utf-8")
    found = find_entry("key")
    assert found is None


def test_a_cache_that_cannot_be_written_is_no_error(root: Path) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("a file where the folder should be", encoding="utf-8")
    keep_entry("key", write)
    assert find_entry("key") is None


def test_what_fails_half_way_leaves_nothing(root: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise OSError("no space left on device")

    keep_entry("key", fail)
    assert find_entry("key") is None
    assert list(root.iterdir()) == []


def test_another_process_was_first(root: Path) -> None:
    keep_entry("key", write)
    keep_entry("key", write)
    assert find_entry("key") is not None
    assert [path.name for path in root.iterdir()] == ["key"]


def test_the_oldest_go(root: Path) -> None:
    for number in range(9):
        keep_entry(f"key{number}", write)
    assert find_entry("key8") is not None
    assert len(list(root.iterdir())) == 6


def test_a_key_depends_on_files_and_settings(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_text("1", encoding="utf-8")
    other.write_text("2", encoding="utf-8")
    keys = [entry_key([one], {"a": 1}), entry_key([one], {"a": 2}), entry_key([other], {"a": 1})]
    assert len(set(keys)) == 3
    assert entry_key([one], {"a": 1}) == keys[0]
    assert json.dumps(keys)


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache_root() == Path("~/.cache/asr-data/models").expanduser()


def test_a_fact_is_remembered_as_long_as_its_entry(root: Path) -> None:
    keep_entry("key", write)
    fact, other = {"fits": 1, "dtype": "bfloat16"}, {"fits": 1, "dtype": "float32"}
    assert not was_found(root / "key", fact)
    remember(root / "key", fact)
    assert was_found(root / "key", dict(reversed(fact.items())))
    assert not was_found(root / "key", other)
    assert find_entry("key") == root / "key"  # not damage


def test_nowhere_to_remember_is_no_error(root: Path) -> None:
    remember(root / "gone", {"fits": 1})
    assert not was_found(root / "gone", {"fits": 1})
