"""Cross-play: scripted and tabular policies worked out by hand, then the model itself."""

import re

import numpy as np
import pandas as pd
import pytest

from sepo_lib import __main__ as cli
from sepo_lib import figures, games
from sepo_lib.config import paths, profiles
from sepo_lib.games.kuhn import CARDS, HISTORIES, STRATEGIES
from sepo_lib.measure import crossplay
from sepo_lib.measure.inspection import open_policy
from sepo_lib.method import seeds
from sepo_lib.play.policy import Answer, load_policy
from sepo_lib.run import recipes

KUHN, SPLIT = games.get("kuhn"), games.get("split")


class Always:
    """Does the same whenever it is legal; keeps how many queries it was sent at once."""

    def __init__(self, action):
        self.action, self.batches = action, []

    def answer(self, queries):
        self.batches.append(len(queries))
        return [Answer(self.action) for _ in queries]


class Table:
    """A strategy of Kuhn's table of strategies; draws from each decision's own seed."""

    def __init__(self, strategy):
        self.bold = dict(zip(HISTORIES, STRATEGIES[strategy], strict=True))

    def answer(self, queries):
        answers = []
        for query in queries:
            facts = query.view.facts
            p = self.bold[facts["history"]][CARDS.index(facts["card"])]
            answers.append(Answer(query.view.legal[int(seeds.generator(query.seed).random() < p)]))
        return answers


def cell(table, row, column):
    return table.set_index(["row", "column"]).loc[(row, column)]


def test_scripted_against_scripted_is_what_the_payoffs_say():
    players = {"four": Always(4), "six": Always(6), "seven": Always(7)}
    table = crossplay.matrix(players, SPLIT, episodes=4, against=["exploiter", "collusive"])
    payoffs = table.pivot(index="row", columns="column", values="payoff").loc[list(players)]
    # The pool has demands of 7 and 8 (exploiter) and of 5 (collusive).
    expected = {
        "four": [4, 4, 0, 0, 4],
        "six": [6, 0, 0, 0, 0],
        "seven": [0, 0, 0, 0, 0],
    }
    for row, values in expected.items():
        assert payoffs.loc[row, ["four", "six", "seven", "exploiter", "collusive"]].tolist() == values
    assert cell(table, "six", "four").other_payoff == 4 and cell(table, "four", "collusive").other_payoff == 5
    assert cell(table, "four", "exploiter").episodes == 4 and cell(table, "four", "six").episodes == 4
    assert set(table["kind"]) == {"model", "pool"} and len(table) == 3 * 5


def test_tables_in_kuhn_are_zero_sum_and_find_the_value_of_the_hand():
    """Always-bet against tight-passive, moving first or second: the tight one folds J and Q (-1) and calls
    or bets K (+2), so each of its cards comes a third of the time and pays -1, -1, +2."""
    players = {name: Table(name) for name in ("nash", "tight_passive", "always_bet")}
    table = crossplay.matrix(players, KUHN, episodes=200, seed=3, against=[])
    models = table[table["kind"] == "model"]
    payoff = models.pivot(index="row", columns="column", values="payoff").to_numpy()
    assert (payoff == -payoff.T).all() and (np.diag(payoff) == 0).all()
    tight = cell(table, "tight_passive", "always_bet")
    assert tight.ci_low < 0.0 < tight.ci_high and tight.ci_high - tight.ci_low < 0.25


def test_every_hand_of_always_bet_against_tight_passive():
    policies = {name: Table(name) for name in ("tight_passive", "always_bet")}
    matches = [crossplay.Match(KUHN, ("tight_passive", "always_bet"), seed) for seed in range(20)]
    crossplay.play_matches(policies, matches)
    hands = [hand for match in matches for hand in match.rounds]
    for hand in hands:
        assert hand.payoffs[0] == (2.0 if hand.facts["cards"][0] == "K" else -1.0)
    assert matches[0].payoff(0) == np.mean([hand.payoffs[0] for hand in matches[0].rounds])


def test_one_call_of_each_policy_per_tick():
    players = {"a": Always(5), "b": Always(4)}
    crossplay.matrix(players, SPLIT, episodes=4, against=[])
    # Four rounds; a sits in both seats of 4 episodes with itself and in one of 4 with b.
    assert players["a"].batches == [12] * 4 and players["b"].batches == [12] * 4


@pytest.mark.parametrize("name", ["kuhn", "deal"])
def test_a_batch_of_matches_plays_what_one_at_a_time_plays(name):
    policies = {
        "cold": load_policy("nano", "float32", 0.3, 32)[2],
        "warm": open_policy("nano"),
    }
    players = [("cold", "warm"), ("warm", "cold"), ("warm", "warm")]
    together = [crossplay.Match(games.get(name), who, number) for number, who in enumerate(players)]
    crossplay.play_matches(policies, together)
    for number, who in enumerate(players):
        alone = crossplay.Match(games.get(name), who, number)
        crossplay.play_matches(policies, [alone])
        assert alone.rounds == together[number].rounds and alone.parsed == together[number].parsed


def test_what_cannot_be_played_is_refused():
    for episodes in (2, 5):
        with pytest.raises(ValueError, match="even number of episodes, at least 4"):
            crossplay.matrix({"a": Always(5)}, SPLIT, episodes=episodes)
    for texts, sentence in [(["nano"], "name=PATH"), (["a=x", "a=y"], "is taken"), (["train=x"], "is taken")]:
        with pytest.raises(ValueError, match=sentence):
            crossplay.named(texts)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--pools": "nonsense"}, r"split has no pool set 'nonsense'; choose one of \['paper'\]."),
        ({"--game": "chess"}, "There is no game 'chess'; choose from"),
        ({"--episodes": "0"}, "--episodes: a whole number from 4 to 1000000 is needed, not '0'"),
        ({"--models": "a=nano b=nowhere"}, "There is no model 'nowhere'; choose"),
        ({"--models": "a=nano b=data"}, "The folder 'data' holds no model"),
        ({"--models": "a=nano a=nano"}, "The name 'a' is taken"),
    ],
)
def test_the_command_refuses_before_a_model_is_loaded(changed, sentence, monkeypatch, capsys):
    monkeypatch.setattr("sepo_lib.measure.inspection.open_policy", lambda model: pytest.fail("loaded"))
    given = {"--game": "split", "--models": "a=nano b=nano", "--episodes": "4"} | changed
    arguments = [word for name, value in given.items() for word in (name, *value.split())]
    assert cli.main(["crossplay", *arguments]) == 2
    said = capsys.readouterr()
    assert re.search(sentence, said.err) and said.err.count("\n") == 1 and not said.out


def test_pools_that_there_are_not_are_refused_before_a_match_is_played():
    players = {"a": Always(5)}
    for pools, against in [("nonsense", ["exploiter"]), ("paper", ["nonsense"])]:
        with pytest.raises(ValueError, match=r"'nonsense'.*choose one of"):
            crossplay.matrix(players, SPLIT, pools, 4, against=against)
    assert players["a"].batches == []


def test_the_checkpoints_of_a_run():
    settings = profiles.load("laptop", seeds="3,4", games="split", by_hand=False)
    found = recipes.checkpoints_of(settings, "split", 4)
    jobs = "runs/laptop-split-seeds-3-4/checkpoints"
    assert found == {
        "base": "nano",
        "SFT": f"{jobs}/sft/seed-4",
        "SEPO, unbiased": f"{jobs}/sepo/split-paper/unbiased-credited/seed-4",
        "SEPO, published": f"{jobs}/sepo/split-paper/published-per_rollout/seed-4",
    }
    with pytest.raises(ValueError, match="no SEPO job in kuhn with seed 4"):
        recipes.checkpoints_of(settings, "kuhn", 4)


def test_the_command_writes_table_and_heat_map(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "crossplay", lambda game: tmp_path / game)
    monkeypatch.setattr(paths, "relative", str)
    arguments = ["crossplay", "--game", "split", "--models", "a=nano", "b=nano", "--episodes", "4"]
    assert cli.main(arguments) == 0
    table = pd.read_csv(tmp_path / "split" / "crossplay.csv")
    assert list(table["column"].unique()) == ["a", "b", *games.POOLS]
    # One model under two names: the same cards, seeds and answers.
    assert cell(table, "a", "a").payoff == cell(table, "b", "b").payoff == cell(table, "a", "b").payoff
    assert (tmp_path / "split" / "crossplay.png").stat().st_size > 5000
    assert "exploiter" in capsys.readouterr().out
    ax = figures.crossplay(table)
    texts = [text.get_text().split(" ")[0] for text in ax.texts]
    assert texts == [*(f"{value:.2f}" for value in table["payoff"]), "model", "pool"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b", *games.POOLS]
    with pytest.raises(ValueError, match="one game"):
        figures.crossplay(pd.concat([table, table.assign(game="ipd")]))
