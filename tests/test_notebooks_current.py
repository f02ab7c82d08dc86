"""The outputs of the notebooks in git are those of the committed run `laptop`, not of an older one."""

from pathlib import Path

import nbformat

from sepo_lib.config import paths, profiles
from sepo_lib.measure import statistics
from sepo_lib.method import credit

REPOSITORY = Path(__file__).resolve().parents[1]
OUTCOME = "03-41"  # the cell of notebook 03 with safety, payoff and e after SEPO


def safety_after_sepo(run):
    """(game, preset) -> safety as notebook 03 shows it, from `evaluation.csv` of a run."""
    settings = profiles.load(run, run=run)
    table = paths.read_table(run, "evaluation").query("stage == 'sepo' and reported")
    arms = {preset: credit.preset(preset).arm for preset in (settings.preset, *settings.compare_with)}
    main = table["arm"] == table["preset"].map(arms)
    own = table["pools"] == table["game"].map(lambda game: settings.of("pools", game))
    rows = statistics.summarize(table[main & own], ["game", "preset"], ["safety"])
    return {(row["game"], row["preset"]): statistics.as_text(row) for _, row in rows.iterrows()}


def shown(file, cell):
    """All text that a cell of a notebook displays."""
    (found,) = (one for one in nbformat.read(file, as_version=4).cells if one.get("id") == cell)
    data = [out.get("data", {}) for out in found.outputs]
    return "\n".join(str(text) for one in data for kind, text in one.items() if kind.startswith("text/"))


def test_notebook_03_shows_the_safety_of_the_committed_run():
    """If this fails: run `make reproduce PROFILE=laptop`, then `make notebooks PROFILE=laptop`."""
    expected = safety_after_sepo("laptop")
    assert {preset for _, preset in expected} >= {"unbiased", "published"}
    text = shown(REPOSITORY / "notebooks/03_sepo_grpo.ipynb", OUTCOME)
    assert {place: value for place, value in expected.items() if value not in text} == {}
