"""Every hyperparameter refuses every value outside its type and range, in one sentence."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepo_lib import games
from sepo_lib.config import profiles, values
from sepo_lib.config.errors import InputError

NAMES = [name for name in profiles.hyperparameters() if not name.endswith("_weights") and name != "model"]
WEIGHTS = ("train_weights", "evaluation_weights")
NUMBERS = [name for name in NAMES if values.shape_of(name).base in (int, float)]
#: No hyperparameter takes one of these, alone, in a list or for a game.
NEVER = [
    -1,
    -1e-9,
    float("nan"),
    float("inf"),
    -float("inf"),
    10**400,
    10**5000,
    1 + 2j,
    b"1",
    object(),
    "",
    "no\nsuch",
]
TEXT = st.text(st.sampled_from("ai1-+,.e_ \n\t\0'\"`$(){}é…\ud800"), max_size=8)


def wrong(name):
    """Values that hyperparameter `name` must refuse."""
    shape = values.shape_of(name)
    other = {
        int: [1.5, True, "1.5", 10**12],
        float: [True, "nan", "1_0"],
        bool: [0, 1, "yes"],
        str: [1, True],
    }
    found = NEVER + other[shape.base]
    if shape.several:
        found += [[one] for one in found] + ["1,,2", {"kuhn": 1}, {1}]
        block = profiles.hyperparameters()[name]
        if [] in (block["default"], *block.get("by_profile", {}).values()):
            found.remove("")
    elif shape.per_key:
        key = "sft" if name == "lora_dropout" else "kuhn"
        found += [{key: one} for one in [*found, None, [1]]] + [[1], {"chess": 1}, {}]
    else:
        found += [[1], {"kuhn": 1}, {}]
    return found + ([] if shape.optional else [None])


def refused(name, value):
    """The sentence with which `name` refuses a value."""
    with pytest.raises(InputError) as caught:
        profiles.load("smoke", **{name: value})
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 400
    return said


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_cannot_be_used_is_refused(name):
    for value in wrong(name):
        if value in ("", None) and name in ("games", "seeds"):
            continue  # the profile's own
        said = refused(name, value)
        called = {
            "seeds": "seed",
            "sft_steps": "steps",
            "sepo_steps": "steps",
            "estimator_groups": "groups",
            "switches": "switch",
            "replication_strategies": "replication_strateg",  # of both forms
        }
        assert called.get(name, name.removesuffix("s")) in said, (value, said)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_accepted_just_inside_its_range_and_refused_at_its_ends(name):
    shape, terms = values.shape_of(name), profiles.hyperparameters()[name]["range"].split(" and ")
    step = 1 if shape.base is int else 1e-9
    step = 2 if "even" in terms else step
    for term in terms:
        compared, _, end = term.rpartition(" ")
        if not compared:
            assert "even" in refused(name, 5)
            continue
        end, sign = shape.base(end), 1 if compared in ("at least", "above") else -1
        inside = end if compared.startswith("at") else end + sign * step
        assert term in refused(name, [inside - sign * step] if shape.several else inside - sign * step)
        given = [inside] if shape.several else inside
        if name not in ("estimator_groups", "exploiter_refresh"):  # they must agree with others
            loaded = getattr(profiles.load("smoke", **{name: given}), name)
            assert loaded == ((inside,) if shape.several else inside)
        assert values.prepared(name, str(inside)) == values.prepared(name, given)  # digits as text


@settings(max_examples=8, deadline=None)
@pytest.mark.parametrize("name", [*NAMES, *WEIGHTS])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=3),
        lambda one: (
            st.lists(one, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["kuhn", "others"]), one)
        ),
        max_leaves=4,
    )
)
def test_any_value_is_used_or_refused_in_one_sentence(name, value):
    try:
        loaded = values.prepared(name, value)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    else:
        hash(loaded) if not isinstance(value, dict) else None


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("weight", [-1, float("nan"), 10**400, True, "1", None, [1]])
def test_a_weight_that_cannot_be_used_is_refused(name, weight):
    assert "The weight exploit of kuhn must be a number" in refused(name, {"kuhn": {"exploit": weight}})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"workers": 0}, "workers must be a whole number, at least 1 and at most 1024, not '0'."),
        ({"clip": -1}, "clip must be a number, above 0 and below 1, not '-1'."),
        ({"temperature": 0}, "temperature must be a number, above 0 and at most 100, not '0'."),
        ({"seeds": "1,,2"}, "The seeds '1,,2' have an empty entry; write them as a,b."),
        ({"kl_beta": {"kuhn": 0.1}}, "kl_beta has no value for ipd; add one, or one for 'others'."),
        ({"clip": {"others": 0.1}}, "clip takes one value for all games, not "),
        ({"lora_dropout": {"sft": 0.1}}, "lora_dropout has no value for sepo; "),
        ({"kl_beta": {"sft": 0.1}}, "There is no key of kl_beta 'sft'; choose from others, ipd, "),
        (
            {"engine": "vllm", "workers": 5, "vllm_memory": 0.3},
            "5 jobs at a time (workers) cannot each give vLLM 0.3 of the GPU's memory (vllm_memory)",
        ),
        ({"exploiter_refresh": 2}, "checkpoint_every (1) must be a multiple of exploiter_refresh (2)."),
        (
            {"exploiter_refresh": 5, "checkpoint_every": {"others": 10, "kuhn": 12}},
            "checkpoint_every (12) must be a multiple of exploiter_refresh (5).",
        ),
        (
            {"estimator_groups": 81},
            "The number of groups must be a multiple of 40, or an even number below 80",
        ),
        ({"ablation_arms": []}, "At least one of the ablation_arms is needed."),
        ({"model": "a\nb"}, r"A model is a name, a folder or a hub id, not 'a\nb'."),
        ({"model": 3}, "A model is a name, a folder or a hub id, not '3'."),
    ],
)
def test_what_is_wrong_is_said(given, sentence):
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
        profiles.load("smoke", **given)


def test_values_of_the_file_are_checked_and_the_file_is_named(monkeypatch):
    monkeypatch.setitem(profiles.hyperparameters()["clip"], "default", float("nan"))
    with pytest.raises(
        InputError, match=r"^sepo_lib/config/profiles.yaml, profile paper: clip must be a number"
    ):
        profiles.load("paper")


def test_numbers_take_the_type_of_the_hyperparameter():
    loaded = profiles.load("smoke", clip="2e-1", kl_beta={"others": 1}, seeds=range(2), run="mine")
    assert (loaded.clip, loaded.kl_beta["others"], loaded.seeds) == (0.2, 1.0, (0, 1))
    assert isinstance(loaded.kl_beta["others"], float)


def test_the_study_needs_as_many_groups_as_the_range_says():
    assert f"at least {profiles.FEWEST_GROUPS}" == profiles.hyperparameters()["estimator_groups"]["range"]
    assert set(profiles.load("smoke", games="all").games) == set(games.GAMES)
