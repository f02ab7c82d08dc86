"""One colour has one meaning in all figures."""

import importlib
import pkgutil

import matplotlib.colors
import numpy as np
import pytest

from sepo_lib import figures
from sepo_lib.figures import looks
from sepo_lib.figures.theme import Look


def looks_of_the_package():
    """(name of the dictionary, key, look) of every dictionary of looks in the package."""
    found = {}
    for module in pkgutil.iter_modules(figures.__path__, "sepo_lib.figures."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, dict) and value and all(isinstance(v, Look) for v in value.values()):
                found[id(value)] = (name, value)
    return [(name, key, look) for name, value in found.values() for key, look in value.items()]


def meaning(name, key):
    """What a look stands for: an arm means the recipe that uses it, and a variant of a recipe that recipe."""
    if name == "ARMS":
        return {arm: preset for preset, arm in looks.OWN_ARM.items()}.get(key, key)
    return str(key).split(", ")[0]


def hue(colour):
    """Whether a colour is neither black nor a grey: its channels differ by more than a tenth."""
    return np.ptp(matplotlib.colors.to_rgb(colour)) > 0.1


def test_a_colour_means_one_stage_recipe_or_arm():
    meanings = {}
    for name, key, look in looks_of_the_package():
        if hue(look.colour):
            meanings.setdefault(look.colour, set()).add(meaning(name, key))
    assert {colour: found for colour, found in meanings.items() if len(found) > 1} == {}


def test_other_categories_are_black_or_grey():
    known = {
        meaning(name, key) for name, key, _ in looks_of_the_package() if name in ("ARMS", "CONFIGURATIONS")
    }
    assert [
        (name, key)
        for name, key, look in looks_of_the_package()
        if hue(look.colour) and meaning(name, key) not in known
    ] == []


def test_free_colours_have_no_meaning():
    used = {look.colour for _, _, look in looks_of_the_package()}
    assert len(set(looks.FREE)) == len(looks.FREE) and not used & set(looks.FREE)


@pytest.mark.parametrize("name", ["CONFIGURATIONS", "ARMS"])
def test_the_looks_of_one_figure_differ_in_colour_and_marker(name):
    own = [look for found, _, look in looks_of_the_package() if found == name]
    assert len({look.colour for look in own}) == len({look.marker for look in own}) == len(own) > 1
