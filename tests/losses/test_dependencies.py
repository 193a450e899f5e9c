"""``asr_data.losses`` needs torch and pydantic, ``asr_data_schemas`` pyarrow alone."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

BLOCKED = ("transformers", "datasets", "numba", "trl", "peft", "huggingface_hub", "safetensors", "typer")

BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r} + tuple(OTHERS):
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
        return None

sys.meta_path.insert(0, Blocked())
"""

LOSSES = """
import torch
from asr_data import losses

ones = torch.ones(1, 3, dtype=torch.bool)
logps = torch.zeros(1, 3, requires_grad=True)
row = {"prompt_ids": [5], "completion_ids": [6, 7, 8], "completion_mask": [True, False, True]}
batch = losses.collate([row], "completion")
mask = losses.adaptive_mask(torch.tensor([[1.0, -1.0, 1.0]]), ones, torch.tensor([True]))
total = losses.adaptive_dpo_loss(logps, logps, logps, logps, ones, mask) + losses.adaptive_rs_loss(logps, mask)
total = total + losses.adaptive_ppo_loss(logps, logps, torch.ones(1), mask)
total = total + losses.adaptive_kto_loss(logps, logps, mask, torch.tensor([True]))
total.backward()
print(float(total.detach()), batch["mask"].tolist())
"""

SCHEMAS = """
import asr_data_schemas as schemas

assert schemas.contract_json() == schemas.frozen_contract_json()
print(len(schemas.data_schema(("chosen", "rejected"))))
"""


@pytest.mark.parametrize(
    ("code", "others"),
    [(LOSSES, ["pyarrow", "asr_data_schemas"]), (SCHEMAS, ["torch", "numpy", "pydantic", "asr_data"])],
    ids=["losses", "schemas"],
)
def test_without_the_other_packages(code: str, others: list[str]) -> None:
    whole = f"OTHERS = {others!r}{BLOCK}{code}"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_block_blocks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"OTHERS = []{BLOCK}import transformers"], capture_output=True, text=True
    )
    assert "transformers is blocked" in done.stderr


@pytest.mark.parametrize("package", ["asr_data", "asr_data_schemas"])
def test_both_packages_ship_their_types(package: str) -> None:
    assert files(package).joinpath("py.typed").is_file()
