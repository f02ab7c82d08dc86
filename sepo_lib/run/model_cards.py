"""The card of a LoRA adapter: what it is, what it was made from and with, and how to load it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sepo_lib.config import paths
from sepo_lib.run import provenance

STAGES = {
    "sft": "the supervised warm start on rule-based demonstrations",
    "sepo": "SEPO training (GRPO on whole games) on top of the merged SFT model",
}


def write_card(folder: Path, base: str, stage: str, facts: Mapping[str, Any]) -> Path:
    """Write README.md beside an adapter that PEFT has saved to `folder`, and name its base model there.

    `base` is what `models.load` loads the base model from (nano, smollm2, a hub id, a folder from the root
    of the kit); `stage` is sft or sepo; `facts` is JSON-able: data, settings, seeds. Returns the card's
    path. Raises FileNotFoundError where `folder` holds no adapter.
    """
    config = folder / "adapter_config.json"
    if not config.exists():
        raise FileNotFoundError(f"There is no adapter in {folder}: adapter_config.json is missing.")
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base  # PEFT notes the folder of this machine
    paths.replace_text(config, json.dumps(content, indent=2, sort_keys=True) + "\n")
    made = {**provenance.commit(), "versions": provenance.versions()}
    text = _CARD.format(
        base=json.dumps(base),
        name=base,
        stage=STAGES[stage],
        rank=content["r"],
        alpha=content["lora_alpha"],
        dropout=content["lora_dropout"],
        layers=", ".join(sorted({name.rsplit(".", 1)[-1] for name in content["target_modules"]})),
        facts=json.dumps(dict(facts), indent=2, sort_keys=True),
        made=json.dumps(made, indent=2),
    )
    return paths.replace_text(folder / "README.md", text)


_CARD = """\
---
library_name: peft
base_model: {base}
pipeline_tag: text-generation
tags:
- lora
- sepo
---

# A LoRA adapter of the SEPO reproducibility kit

Made in {stage}.
It plays strategic games with another player. SEPO is the method of arXiv 2605.30854; the kit reproduces it
and is not the work of its authors.

| | |
| --- | --- |
| base model | `{name}` |
| rank, alpha, dropout | {rank}, {alpha}, {dropout} |
| adapted layers of the language model | {layers} |

## Loading

```python
from peft import PeftModel
from sepo_lib import models

base, tokenizer = models.load({base})
model = PeftModel.from_pretrained(base, "the folder of this file")
```

`models.load` on this folder gives the base model with the adapter merged in.

## Data and settings

```json
{facts}
```

## Made with

```json
{made}
```

## Limits

Trained on the kit's own prompts of these games; nothing is known of its conduct elsewhere. The evaluation of
the run that it belongs to, with intervals, is in the folder data/results of the kit.
"""
