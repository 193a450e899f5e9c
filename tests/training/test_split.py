from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from asr_data.errors import ConfigError
from asr_data.training.split import hold_out


@dataclass(frozen=True)
class Item:
    group: str
    number: int


ITEMS = [Item(f"question {number // 3}", number) for number in range(3000)]


def test_whole_groups_are_held_out_in_the_share_asked_for() -> None:
    train, held_out = hold_out(ITEMS, 0.2, seed=1)
    assert not {item.group for item in train} & {item.group for item in held_out}
    assert sorted([*train, *held_out], key=lambda item: item.number) == ITEMS
    assert train == sorted(train, key=lambda item: item.number)
    # 1000 groups, standard deviation sqrt(1000 × 0.2 × 0.8) = 12.6
    assert abs(len({item.group for item in held_out}) - 200) < 4 * 12.6


def test_a_group_is_where_its_hash_says() -> None:
    def held_out(group: str) -> bool:
        digest = hashlib.sha256(b"7\0" + group.encode()).hexdigest()
        return int(digest[:16], 16) / 2**64 < 0.3

    _, found = hold_out(ITEMS, 0.3, seed=7)
    assert found == [item for item in ITEMS if held_out(item.group)]


def test_order_and_company_do_not_matter() -> None:
    _, held_out = hold_out(ITEMS, 0.2, seed=1)
    shuffled = ITEMS[:1500][::-1]
    _, again = hold_out(shuffled, 0.2, seed=1)
    assert {item.group for item in again} == {item.group for item in held_out if item.number < 1500}


def test_a_larger_share_contains_the_smaller_one() -> None:
    _, few = hold_out(ITEMS, 0.1, seed=1)
    _, many = hold_out(ITEMS, 0.4, seed=1)
    assert set(few) < set(many)


def test_the_ends_and_beyond() -> None:
    assert hold_out(ITEMS, 0.0, seed=1) == (ITEMS, [])
    assert hold_out(ITEMS, 1.0, seed=1) == ([], ITEMS)
    with pytest.raises(ConfigError, match=r"1\.5; it must be between 0 and 1"):
        hold_out(ITEMS, 1.5, seed=1)
