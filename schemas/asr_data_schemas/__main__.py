"""``python -m asr_data_schemas``: print the contract as JSON, to freeze it in ``contract-v1.json``."""

from __future__ import annotations

import sys

from asr_data_schemas.contract import contract_json

if __name__ == "__main__":
    sys.stdout.write(contract_json())
