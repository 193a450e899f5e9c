from __future__ import annotations

import pytest

from asr_data.errors import ConfigError
from asr_data.storage.columns import check_collisions
from asr_data_schemas import data_schema


def test_collisions_name_the_columns_and_the_way_out() -> None:
    added = data_schema(("chosen", "rejected")).names
    check_collisions(["prompt", "chosen", "rejected"], added)
    with pytest.raises(ConfigError, match=r"columns 'chosen_ids', 'asr_row'.*--prefix"):
        check_collisions(["asr_row", "prompt", "chosen_ids"], added)
    check_collisions(["asr_row", "chosen_ids"], data_schema(("chosen", "rejected"), prefix="x_").names)
