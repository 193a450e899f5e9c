"""``README.md`` of an export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asr_data.export.formats import Setup
from asr_data.export.notes import LEFT_OUT_CODES, NOTE_CODES
from asr_data.storage import Manifest
from asr_data.storage.card import escaped

_LANGUAGES = {"yaml": "yaml", "sh": "sh", "py": "python"}


def export_card(manifest: Manifest, setup: Setup, content: Mapping[str, Any]) -> str:
    """The text of the card.

    Args:
        manifest: of the annotated directory.
        setup: the trainer's configuration.
        content: of ``export.json``.
    """
    counts = [("annotated rows", manifest.counts.annotated, ""), ("examples", content["examples"], "")]
    counts += [(f"noted: {code}", count, NOTE_CODES[code]) for code, count in content["notes"].items()]
    counts += [(f"left out: {code}", count, LEFT_OUT_CODES[code]) for code, count in content["left_out"].items()]
    table = "\n".join(f"| {name} | {count} | {meaning} |" for name, count, meaning in counts)
    tokenizer = "" if manifest.tokenizer is None else manifest.tokenizer.name
    limit = "none" if content["max_length"] is None else f"{content['max_length']}, cut at the {content['truncate']}"
    license_line = "" if manifest.input.license is None else f"license: {json.dumps(manifest.input.license)}\n"
    return f"""\
---
{license_line}tags:
- asr-data
configs:
- config_name: default
  data_files:
  - split: train
    path: {content["data"]}
---

# Masked examples for {content["format"]}

Made by `asr-annotate export` from the annotated run `{manifest.run_id}` of
{escaped(manifest.input.description)}. Tokens that a mask leaves out are not trained on.

{setup.explanation}

`{setup.file}`, to be run in the directory that the export was made from:

```{_LANGUAGES[setup.file.rpartition(".")[2]]}
{setup.text.strip()}
```

```sh
{setup.command}
```

| | | |
|---|---:|---|
{table}
| tokens of the longest example | {content["longest"]} | |
| longest length allowed | {limit} | |
| policy tokenizer | {escaped(tokenizer)} | |

`notes.jsonl` says for each changed or left-out response what happened to it.
"""
