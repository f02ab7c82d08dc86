"""The labels, colours and markers of stages, recipes and arms. Each of them is written down here only."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib.colors import is_color_like

from sepo_lib.figures.notes import of_kit
from sepo_lib.figures.theme import BASE, COLOURS, MARKERS, Look
from sepo_lib.method import credit

#: A palette: colours by category, a list of colours, or the name of a palette of seaborn or matplotlib.
Palette = Mapping[Any, str] | Sequence[str] | str

#: Stage, or preset of a SEPO model -> its look.
CONFIGURATIONS = {
    "base": Look("base model", BASE, "o"),
    "sft": Look("SFT", COLOURS[1], "s"),
    "published": Look("SEPO, published", COLOURS[0], "^", False),
    "authors_current": Look("SEPO, authors' current code", COLOURS[4], "v", False),
    "unbiased": Look("SEPO, unbiased", COLOURS[2], "D"),
}
#: Colours without a meaning, for categories of a table that the kit does not know.
FREE = (COLOURS[3], COLOURS[9], COLOURS[5], COLOURS[8], "#5b3a8c", "#004d43", "#6b8e23", COLOURS[6])
#: Arm of the ablation (the episodes to which a penalty is charged) -> its look. An arm has the colour of the
#: recipe that uses it.
ARMS = {
    "reward_only": Look("reward only", "#7a4900", "o"),
    "constant": Look("constant", "#a3195b", "s"),
    "per_rollout": Look("per rollout", COLOURS[0], "^"),
    "credited": Look("credited", COLOURS[2], "D"),
}
#: Preset of the ablation -> whether its markers are filled.
PRESETS = {"published": False, "unbiased": True}
#: Preset -> the arm that belongs to it.
OWN_ARM = {preset: estimator.arm for preset, estimator in credit.PRESETS.items()}
#: Column of a table -> its name and its unit, for the label of an axis.
QUANTITIES = {
    "safety": ("safety J", "scaled points per round"),
    "objective": ("objective J", "scaled points per round"),
    "payoff": ("payoff u", "points per round"),
    "start_payoff": ("payoff u of the SFT model", "points per round"),
    "exploit": ("exploit advantage e", "points per round"),
    "collusion": ("collusion c", "share of rounds"),
    "externality": ("externality x", "rate, 0 to 1"),
    "margin": ("exploiters' margin", "points per round"),
    "parse_rate": ("parse rate", "share of answers"),
    "robustness": ("robustness", "points per round"),
    "welfare": ("welfare", "points per round"),
    "nra": ("relative advantage", "-1 to 1"),
    "shift_payoff": ("payoff, shift pool", "points per round"),
    "nashconv": ("NashConv", "chips per hand"),
    "pool_advantage": ("exploiter pool's advantage", "chips per hand"),
    "penalty_gradient_norm": ("norm of the penalty's gradient", "reward per unit of weight"),
    "cosine_to_credited": ("cosine to credited", "-1 to 1"),
    "loss": ("loss on the answer", "nats per token"),
}
#: Weight of J -> its symbol.
WEIGHTS = {"exploit": "le", "collusion": "lc", "externality": "lx"}


def plain(name: Any) -> str:
    """A name of a reader's table as matplotlib shows it: a $ is no mathematics."""
    return str(name).replace("$", r"\$")


def axis_label(metric: str) -> str:
    """The label of an axis: the name of the quantity (else of the column), and its unit in a second line."""
    name, unit = QUANTITIES.get(metric, (plain(metric), ""))
    return f"{name}\n({unit})" if unit else name


def quantity(metric: str) -> str:
    """The name of a quantity; the column's name if the kit does not know it."""
    return QUANTITIES.get(metric, (metric,))[0]


def looks_of(
    values: Iterable,
    *,
    known: Mapping[Any, Look] | None = None,
    order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    name: str = "category",
) -> dict[Any, Look]:
    """Category -> its look, for the categories that occur in `values`, in the order in which they are drawn.

    The categories stand in the order of `order`, else in that of `known`, by default `CONFIGURATIONS` as
    `named` names them. Those that `known` lacks stand last, in the order of their first row, and get colours
    that no stage has. `palette` and `labels` replace colours and labels; a palette may have colours for
    further categories. Raises ValueError, naming the values found, for an entry of `order` or `labels` that
    does not occur; `name` is the name of the column in this message.
    """
    known = named(CONFIGURATIONS) if known is None else known
    found = list(dict.fromkeys(values))
    check_named(found, order, name, "order")
    in_order = [key for key in known if key in found] + [value for value in found if value not in known]
    drawn = in_order if order is None else list(order)
    free = zip(itertools.cycle(FREE), itertools.cycle(MARKERS[:0:-1]))
    looks = {key: known[key] if key in known else Look(plain(key), *next(free)) for key in drawn}
    if palette is not None:
        colours = _colours(palette, drawn, name)
        looks = {key: look._replace(colour=colours[key]) for key, look in looks.items()}
    if labels is not None:
        check_named(found, labels, name, "labels")
        looks = {key: look._replace(label=labels.get(key, look.label)) for key, look in looks.items()}
    return looks


def named(looks: Mapping[Any, Look]) -> dict[Any, Look]:
    """The looks; in a figure of a reader's own table, the label of a category is its name in the table.

    The kit does not know what a reader calls `base` or `published`.
    """
    if of_kit():
        return dict(looks)
    return {key: look._replace(label=plain(key)) for key, look in looks.items()}


def labels_among(labels: Mapping[Any, str] | None, values: Iterable, others: Iterable = ()) -> dict[Any, str]:
    """The labels of `values`. Raises ValueError for a label of neither these nor the `others`."""
    found, more = set(values), set(others)
    if unknown := [value for value in labels or {} if value not in found | more]:
        raise ValueError(
            f"`labels` names {unknown}, but the table has {sorted(map(str, (found | more) - {''}))}."
        )
    return labels_for(labels, found)


def labels_for(labels: Mapping[Any, str] | None, values: Iterable) -> dict[Any, str]:
    """The labels of those of `values` that have one."""
    found = set(values)
    return {value: label for value, label in (labels or {}).items() if value in found}


def _colours(palette: Palette, drawn: Sequence, name: str) -> dict[Any, str]:
    """Category -> colour. Raises ValueError for a palette with too few colours, or one that is not known."""
    if isinstance(palette, Mapping):
        if missing := [key for key in drawn if key not in palette]:
            raise ValueError(f"`palette` has no colour for {missing} of {name}; it has {list(palette)}.")
        if wrong := [palette[key] for key in drawn if not is_color_like(palette[key])]:
            raise ValueError(f"`palette` holds {wrong[0]!r}, which is no colour of matplotlib.")
        return {key: palette[key] for key in drawn}
    if not isinstance(palette, str) and len(palette) < len(drawn):
        raise ValueError(f"`palette` has {len(palette)} colours for {len(drawn)} values of {name}: {drawn}.")
    try:
        return dict(zip(drawn, sns.color_palette(palette, len(drawn)).as_hex(), strict=True))
    except ValueError as error:
        raise ValueError(
            f"`palette` is no palette and no list of colours of seaborn: {palette!r}."
        ) from error


def check_named(found: Sequence, asked: Iterable | None, name: str, argument: str) -> None:
    """Raise ValueError if an entry of an argument does not occur in the table."""
    if unknown := [value for value in asked or () if value not in found]:
        raise ValueError(f"`{argument}` names {unknown}, but {name} of the table has {found}.")


def run_look(arm: str, preset: str) -> Look:
    """The look of a trained arm: the colour shows the arm, the filling shows the preset.

    A preset that is not one of the ablation's has a look of its own, unless its arm was replaced.
    """
    if preset not in PRESETS and arm == OWN_ARM.get(preset):
        return CONFIGURATIONS[preset]
    return ARMS[arm]._replace(filled=PRESETS.get(preset, False), label=f"{ARMS[arm].label}, {preset}")
