"""The model card of a LoRA adapter: what the adapter is, how it was made, and how to load it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sepo_lib.config import bundled, files, hub, model_folder, paths
from sepo_lib.run import provenance
from sepo_lib.run.templates import render

STAGES = {
    "sft": "supervised fine-tuning (SFT) on chat examples (`data` below names them)",
    "sepo": "SEPO training (GRPO on whole games), starting from the merged SFT model",
}


def write_card(folder: Path, base: str, stage: str, facts: Mapping[str, Any]) -> Path:
    """Write README.md beside an adapter that PEFT has saved to `folder`, and return its path.

    `base` is the base model as `models.load` takes it: nano, smollm2, a hub id, or a folder relative to the
    root of the kit. The card and the adapter's configuration name it as PEFT can load it from any working
    directory: a repository of the hub with its commit, or else the path of its folder. `stage` is sft or
    sepo. `facts` is a JSON-serializable mapping with data, settings and seeds. Raises FileNotFoundError if
    `folder` holds no adapter.
    """
    config = folder / "adapter_config.json"
    if not config.exists():
        raise FileNotFoundError(f"There is no adapter in {folder}: adapter_config.json is missing.")
    content = files.read_json(config, "run the same command again")
    there = bundled.resolve(base)
    revision = hub.commit(there)
    place = base.partition("@")[0] if revision else str(there.resolve())
    content |= {"base_model_name_or_path": place, "revision": revision}
    paths.replace_text(config, json.dumps(content, indent=2, sort_keys=True) + "\n")
    text = render(
        "run/templates/model_card.md.j2",
        base=place,
        quoted_base=json.dumps(place),
        base_is_adapter=model_folder.base_of(there) is not None,
        stage=STAGES[stage],
        rank=content["r"],
        alpha=content["lora_alpha"],
        dropout=content["lora_dropout"],
        layers=", ".join(sorted({name.rsplit(".", 1)[-1] for name in content["target_modules"]})),
        facts=dict(facts),
        made={**provenance.commit(), "versions": provenance.versions()},
    )
    return paths.replace_text(folder / "README.md", text + "\n")
