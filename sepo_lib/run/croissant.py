"""Croissant metadata of the demonstrations: `croissant.json`, which describes their files to programs.

Croissant is a format of MLCommons (JSON-LD). Its readers, such as mlcroissant, load the records of each game
with it and check the hashes of the files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sepo_lib.config import files

#: The version of the data and its date. Change both when the committed files change.
VERSION, PUBLISHED = "1.0.0", "2026-11-27"
_CONTEXT = Path(__file__).with_name("templates") / "croissant_context.json"  # the vocabulary of the format
_CREATOR = {"@type": "sc:Organization", "name": "The SEPO reproducibility kit contributors"}
_TYPES = {pa.int32(): "sc:Integer", pa.string(): "sc:Text"}


def described(folder: Path, tables: Mapping[str, pa.Table], columns: Mapping[str, str], about: str) -> str:
    """The text of croissant.json for the files `<game>.parquet` in `folder`.

    `tables` are the contents of the files by game, `columns` what each column means, and `about` is a
    sentence on the data.
    """
    content = {
        "@context": files.read_json(_CONTEXT, "restore it with git"),
        "@type": "sc:Dataset",
        "name": "sepo_demonstrations",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "description": about,
        "license": "https://spdx.org/licenses/MIT.html",
        "version": VERSION,
        "datePublished": PUBLISHED,
        "creator": _CREATOR,
        "citeAs": f"{_CREATOR['name']}: SEPO demonstrations, version {VERSION}, a part of the kit.",
        "keywords": ["games", "large language models", "supervised fine-tuning"],
        "inLanguage": "en",
        "isLiveDataset": False,
        "rai:dataCollection": "A program wrote all texts while scripted strategies played the games.",
        "rai:personalSensitiveInformation": "None: no person played or wrote.",
        "rai:dataLimitations": "The reasons come from templates, and every text is about one of these games.",
        "distribution": [_file(folder / f"{game}.parquet") for game in tables],
        "recordSet": [_records(game, table, columns) for game, table in tables.items()],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": files.sha256(path),
    }


def _records(game: str, table: pa.Table, columns: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": game,
        "name": game,
        "description": f"{table.num_rows} decisions in the game {game}, one in each row.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{game}/{name}",
                "name": name,
                "description": meaning,
                "dataType": _TYPES[table.schema.field(name).type],
                "source": {"fileObject": {"@id": f"{game}.parquet"}, "extract": {"column": name}},
            }
            for name, meaning in columns.items()
        ],
    }
