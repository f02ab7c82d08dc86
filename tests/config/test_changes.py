"""Hyperparameters from the text of the option SET, and what a run keeps of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepo_lib.config import changes, profiles
from sepo_lib.config.errors import InputError
from sepo_lib.run import provenance, runs


def test_values_are_numbers_words_and_lists_and_keys_nest():
    text = "sft_learning_rate=2e-4 sepo_steps.kuhn=60  sepo_steps.ipd=5 transfer=no sft_steps=none"
    text += " train_weights.kuhn.exploit=2 ablation_arms=credited,constant"
    assert changes.parse(text) == {
        "sft_learning_rate": 2e-4,
        "sepo_steps": {"kuhn": 60, "ipd": 5},
        "transfer": False,
        "sft_steps": None,
        "train_weights": {"kuhn": {"exploit": 2}},
        "ablation_arms": "credited,constant",
    }
    assert changes.parse(None) == changes.parse(" ") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sft_steps", "SET takes name=value or name.game=value, separated by spaces, not 'sft_steps'."),
        ("=3", "SET takes name=value"),
        ("sepo_steps.=3", "SET takes name=value"),
        ("seeds=1,2", "SET cannot set seeds; use the option SEEDS."),
        ("sft_step=3", "There is no hyperparameter 'sft_step' (near to it: sft_steps, "),
        ("a=1", "There is no hyperparameter 'a'; `python -m sepo_lib profiles` lists all."),
        ("sft_steps=3 sft_steps=4", "SET gives sft_steps twice; give each value once."),
        ("sepo_steps=3 sepo_steps.kuhn=4 sepo_steps=5", "SET gives sepo_steps twice"),
        ("sepo_steps.kuhn=4 sepo_steps.kuhn=5", "SET gives sepo_steps.kuhn twice"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, message):
    with pytest.raises(InputError) as error:
        changes.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["sepo_steps=3 sepo_steps.kuhn=4", "sepo_steps.kuhn=4 sepo_steps=3"])
def test_a_value_for_all_counts_where_a_game_has_none_of_its_own(text):
    made = runs.settings(None, "laptop", changes.parse(text))
    assert [made.of("sepo_steps", game) for game in ("kuhn", "deal", "ipd")] == [4, 3, 3]


def test_steps_of_the_ablation_for_one_game_leave_the_others_with_those_of_sepo():
    made = runs.settings(None, "laptop", changes.parse("ablation_steps.ipd=4"))
    own = profiles.load("laptop")
    assert made.of("ablation_steps", "ipd") == 4
    assert made.of("ablation_steps", "kuhn") == own.of("sepo_steps", "kuhn")
    assert made.of("ablation_steps", "split") == own.of("sepo_steps", "split")


def test_digits_are_not_parted_by_underscores():
    with pytest.raises(InputError, match="'1_0'"):
        runs.settings(None, "smoke", changes.parse("sft_steps=1_0"))


def test_a_value_per_game_that_cannot_be_is_quoted_as_it_was_given():
    with pytest.raises(InputError, match=r"one value for all games, not '{'ipd': 0.1}'"):
        runs.settings(None, "smoke", changes.parse("sft_learning_rate.ipd=0.1"))


def test_a_value_for_a_game_that_is_not_played_is_an_error():
    with pytest.raises(InputError, match="the games of this run are ipd; leave it out"):
        runs.settings(None, "laptop", changes.parse("sepo_steps.kuhn=60"), games="ipd")


@given(st.text(alphabet="abz_.=,0 sepo_steps", max_size=30))
def test_any_text_gives_hyperparameters_or_an_error(text):
    try:
        found = changes.parse(text)
    except InputError:
        return
    assert set(found) <= set(profiles.hyperparameters())


def test_one_game_changes_and_the_others_keep_the_profile_s_value():
    own, changed = (
        runs.settings(None, "laptop", values)
        for values in ({}, {"sepo_steps": {"ipd": 7}, "sft_learning_rate": 2e-4})
    )
    assert changed.of("sepo_steps", "ipd") == 7
    assert changed.of("sepo_steps", "kuhn") == own.of("sepo_steps", "kuhn")
    assert changed.of("sepo_steps", "split") == own.of("sepo_steps", "split")
    assert changed.run.startswith("laptop-sft-learning-rate-0-0002-sepo-steps-")
    assert own.changes == {} and set(changed.changes) == {"sepo_steps", "sft_learning_rate"}


def test_a_value_that_the_profile_has_changes_nothing():
    own = profiles.load("smoke", by_hand=False)
    same = profiles.load("smoke", by_hand=False, sft_batch=own.sft_batch)
    assert (same.run, same.changes) == ("smoke", {})
    steps = profiles.load("laptop").of("sepo_steps", "kuhn")
    same = runs.settings(None, "laptop", changes.parse(f"sepo_steps.kuhn={steps}"))
    assert (same.run, same.changes) == ("laptop", {})


def test_a_run_goes_on_with_what_was_set_and_tells_its_notebooks(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    chosen = {"kl_beta": 0, "sft_steps": 4}
    made = runs.settings("mine", "smoke", chosen, steps=3)
    assert (made.sft_steps, made.of("sepo_steps", "ipd"), made.of("kl_beta", "kuhn")) == (4, 3, 0)
    provenance.start(made)
    again = runs.settings("mine", None)
    assert again.as_dict() == made.as_dict()
    with pytest.raises(InputError, match="exists with other settings"):
        runs.settings("mine", "smoke", {"kl_beta": 0.5})
    for settings in (made, again):
        parameters = runs.parameters(settings)
        name, named = (parameters.pop(key) for key in ("profile", "changes"))
        assert profiles.load(name, by_hand=False, **parameters, **named).as_dict() == (made.as_dict())


@pytest.mark.parametrize(
    ("profile", "chosen", "options"),
    [
        ("smoke", {}, {"sft_data": "examples.jsonl"}),
        ("smoke", {"sft_steps": 10}, {"steps": 3}),  # the profile's own value
        ("smoke", {"sepo_steps": 2}, {"steps": 3}),
        ("laptop", {"sepo_steps": {"kuhn": 60}}, {"steps": 20}),
        ("laptop", {"sepo_steps": {"kuhn": 60}, "transfer": True}, {"games": "kuhn,deal"}),
    ],
)
def test_the_notebooks_load_the_settings_of_the_run(profile, chosen, options, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    (tmp_path / "examples.jsonl").touch()
    made = runs.settings("mine", profile, chosen, **options)
    parameters = runs.parameters(made)
    name, named = (parameters.pop(key) for key in ("profile", "changes"))
    again = profiles.load(name, by_hand=False, **parameters, **(named or {}))
    assert again.as_dict() == made.as_dict()
    assert not set(made.changes) & {"model", "games", "seeds", "sft_data"}


def test_steps_count_for_the_games_that_set_does_not_name():
    made = runs.settings(None, "laptop", {"sepo_steps": {"kuhn": 60}}, steps=20)
    assert [made.of("sepo_steps", game) for game in ("kuhn", "deal", "ipd")] == [60, 20, 20]
    assert made.sft_steps == 20
