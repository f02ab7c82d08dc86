"""The labels, colours and markers of stages, arms and presets. Each of them is written down here only."""

from sepo_lib.figures.theme import BASE, COLOURS, MARKERS, Look
from sepo_lib.method import credit


def next_look(label: str, number: int) -> Look:
    """The look of a category that has none of its own and follows `number` others."""
    return Look(label, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])


#: Stage, or preset of a SEPO model -> its look. A preset that is not listed gets the next colour and marker.
CONFIGURATIONS = {
    "base": Look("base model", BASE, "o"),
    "sft": Look("SFT", COLOURS[1], "s"),
    "published": Look("SEPO, published", COLOURS[0], "^", False),
    "authors_current": Look("SEPO, authors' current code", COLOURS[4], "v", False),
    "unbiased": Look("SEPO, unbiased", COLOURS[2], "D"),
}
_ADDED = [preset for preset in credit.PRESETS if preset not in CONFIGURATIONS]
CONFIGURATIONS |= {name: next_look(f"SEPO, {name}", n) for n, name in enumerate(_ADDED, len(CONFIGURATIONS))}
#: Arm of the ablation (the episodes to which a penalty is charged) -> its look.
ARMS = {
    "reward_only": Look("reward only", BASE, "o"),
    "constant": Look("constant", COLOURS[3], "s"),
    "per_rollout": Look("per rollout", COLOURS[0], "^"),
    "credited": Look("credited", COLOURS[2], "D"),
}
#: Preset of the ablation -> whether its markers are filled.
PRESETS = {"published": False, "unbiased": True}
#: Preset -> the arm that belongs to it.
OWN_ARM = {preset: estimator.arm for preset, estimator in credit.PRESETS.items()}
#: Column of a table -> the label of its axis.
QUANTITIES = {
    "safety": "safety J",
    "exploit": "exploit advantage e",
    "payoff": "payoff u",
    "collusion": "collusion c",
    "externality": "externality x",
    "objective": "objective J",
    "penalty_gradient_norm": "penalty's\ngradient norm",
    "cosine_to_credited": "cosine to\ncredited",
}
#: Weight of J -> its symbol.
WEIGHTS = {"exploit": "λe", "collusion": "λc", "externality": "λx"}


def run_look(arm: str, preset: str) -> Look:
    """The look of a trained arm: the colour shows the arm, the filling shows the preset.

    A preset that is not one of the ablation's has a look of its own, unless its arm was replaced.
    """
    if preset not in PRESETS and arm == OWN_ARM.get(preset):
        return CONFIGURATIONS[preset]
    return ARMS[arm]._replace(filled=PRESETS.get(preset, False), label=f"{ARMS[arm].label}, {preset}")
