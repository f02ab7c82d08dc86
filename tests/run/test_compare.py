"""The comparison of two runs: its grades, and how often it is wrong and right about chance."""

import dataclasses
import json
import subprocess

import numpy as np
import pandas as pd
import pytest

from sepo_lib import __main__ as cli
from sepo_lib.config import paths, profiles
from sepo_lib.measure import statistics
from sepo_lib.run import compare

GAMES = ("ipd", "kuhn", "split", "deal", "auction")
SEPO = [("sepo", "credited", "unbiased"), ("sepo", "constant", "published")]
MODELS = [("base", "", ""), ("sft", "", ""), *SEPO]


def evaluation(seeds, chance, shift=0.0, games=GAMES, models=MODELS):
    """evaluation.csv of a made-up experiment: what `chance` draws differs between seeds, and nothing else.

    Safety has another mean and spread in every game, rates are counts of 48 episodes, and the policies of a
    seed and game share half of their variance. `shift` moves the SEPO policies, in standard deviations.
    """
    rows = []
    for number, game in enumerate(games):
        for seed in seeds:
            shared = chance.normal()
            for stage, arm, preset in models:
                z = (shared + chance.normal()) / np.sqrt(2) + shift * (stage == "sepo")
                rate = chance.binomial(48, 0.97) / 48
                known = {"profile": "p", "model": "nano", "game": game, "pools": "paper", "stage": stage}
                known |= {"arm": arm or np.nan, "preset": preset or np.nan, "seed": seed, "step": 30}
                measured = {"safety": number + (number + 1) * z, "payoff": z - number, "parse_rate": rate}
                rows.append(known | measured | {"play_seconds": 1.0})
    return pd.DataFrame(rows)


def run(name, seeds=(1, 2, 3), games=GAMES, **tables):
    return compare.Run(name, tables, games, seeds)


def graded(mine, other):
    (found,) = compare.compare(mine, other)
    return found


@pytest.fixture
def table():
    return evaluation((1, 2, 3), np.random.default_rng(1))


def test_equal_values_are_identical_whatever_the_time_and_the_name_of_the_profile(table):
    slower = table.assign(play_seconds=9.0, profile="other").sample(frac=1, random_state=0)
    found = graded(run("a", evaluation=table), run("b", evaluation=slower))
    assert (found.grade, found.rows, found.notes) == ("identical", len(table), [])
    assert compare.conclusion([found]).startswith("The runs are identical")


@pytest.mark.parametrize(("factor", "grade"), [(1e-8, "rounding"), (1e-5, "different")])
def test_a_number_without_an_interval_is_equal_up_to_a_millionth_or_differs(table, factor, grade):
    optimum = pd.DataFrame({"pools": ["paper"] * 2, "exploiter": ["pool", "none"], "nashconv": [0.5, 0.25]})
    optimum = optimum.assign(exploit_weight=0.0, collusion_weight=0.0, own=True)
    tables = {"evaluation": table, "kuhn_optimum": optimum}
    changed = tables | {"kuhn_optimum": optimum.assign(nashconv=[0.5, 0.25 * (1 + factor)])}
    found = compare.compare(run("a", **tables), run("b", **changed))
    assert [one.grade for one in found] == ["identical", grade]
    assert compare.grade(found) == grade
    assert any("paper, none" in note for note in found[1].notes)


def test_a_missing_table_and_a_missing_row_are_named(table):
    one = table.drop(index=7)
    found = graded(run("a", evaluation=table), run("b", evaluation=one))
    assert found.grade == "different"
    assert found.notes == ["a alone has 1 rows, such as nano, ipd, paper, sepo, constant, published, 2, 30."]
    lost = compare.compare(run("a", evaluation=table, headroom=table), run("b", evaluation=table))[1]
    assert (lost.grade, lost.notes) == ("different", ["The table is missing in b."])


def test_a_run_of_some_games_and_seeds_is_compared_where_both_have_rows(table):
    part = table[(table["game"] == "ipd") & (table["seed"] == 2)]
    found = graded(run("part", (2,), ("ipd",), evaluation=part), run("all", evaluation=table))
    assert (found.grade, found.rows) == ("identical", len(part))
    assert found.notes == ["all alone has the games auction, deal, kuhn, split and the seeds 1, 3."]


def test_a_run_without_the_game_of_the_exploiters_has_no_rows_of_them(table):
    rows = pd.DataFrame(
        [{"model": "nano", "exploiter": "pool", "stage": "sft", "seed": 2, "step": 0, "nashconv": 0.5}]
    )
    part = table[(table["game"] == "ipd") & (table["seed"] == 2)]
    mine = run("part", (2,), ("ipd",), evaluation=part, exploiters=rows.iloc[:0])
    found = compare.compare(mine, run("all", evaluation=table, exploiters=rows))
    assert [one.grade for one in found] == ["identical", compare.OPEN]
    assert found[1].notes == ["all alone has 1 rows, such as nano, pool, sft, 2, 0."]
    assert compare.grade(found) == "identical"


def calls(seeds, paired, shift=0.0, models=MODELS, draws=100):
    """How many of `draws` pairs of runs are called different."""
    chance, second = np.random.default_rng(seeds), range(0 if paired else seeds, seeds + (not paired) * seeds)
    games = [f"{draw}-{game}" for draw in range(draws) for game in GAMES]
    a = evaluation(range(seeds), chance, 0.0, games, models)
    found = compare.differences("evaluation", a, evaluation(second, chance, shift, games, models))
    draw = found["game"].str.partition("-")[0]
    return sum(compare.judge(one)["outside"].any() for _, one in found.groupby(draw))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("paired", [True, False])
def test_two_draws_of_one_experiment_are_called_different_as_rarely_as_stated(seeds, paired):
    assert calls(seeds, paired) <= 5  # the module promises 10 of 100 under any dependence


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_of_three_standard_errors_in_all_policies_is_found(paired):
    assert calls(10, paired, 3 * np.sqrt(2 / 10), SEPO, draws=20) >= 18


def test_one_large_difference_is_found_and_named(table):
    chance = np.random.default_rng(5)
    seeds = tuple(range(5))
    a, b = evaluation(seeds, chance), evaluation(seeds, chance)
    b.loc[(b["game"] == "kuhn") & (b["arm"] == "credited"), "safety"] += 1000.0
    found = graded(run("a", seeds, evaluation=a), run("b", seeds, evaluation=b))
    assert found.grade == "different" and "evaluation" in compare.conclusion([found])
    assert found.notes[1].startswith("kuhn, paper, sepo, credited, unbiased, safety: -1e+03 [-")
    assert found.notes[1].endswith(", 5 paired seeds.")


def test_a_difference_that_is_equal_in_all_seeds_takes_the_spread_of_other_policies(table):
    """Counts often differ by the same amount in three seeds; that alone is no sign of another experiment."""
    other = table.copy()
    other.loc[(other["game"] == "ipd") & (other["stage"] == "sft"), "parse_rate"] -= 1 / 48
    chosen = (other["game"] == "ipd") & (other["stage"] == "sepo") & (other["arm"] == "credited")
    other.loc[chosen, "parse_rate"] -= [0.0, 1 / 48, 2 / 48]
    assert graded(run("a", evaluation=table), run("b", evaluation=other)).grade == "intervals"
    other = table.assign(parse_rate=table["parse_rate"] - 0.5)  # no policy shows any spread
    assert graded(run("a", evaluation=table), run("b", evaluation=other)).grade == "different"


def test_the_rounding_of_float32_is_no_difference_however_regular_it_is(table):
    other = table.assign(payoff=table["payoff"] * (1 + 2e-5), safety=table["safety"] * (1 - 2e-5))
    assert graded(run("a", evaluation=table), run("b", evaluation=other)).grade == "intervals"


def test_a_table_of_episodes_follows_the_evaluation(table):
    played = table.assign(pool="train", opponent="grim", rollout=0, decision=0, answer="yes")
    other = played.assign(answer=["no"] + ["yes"] * (len(played) - 1))
    tables = {"evaluation": table}
    found = compare.compare(run("a", episodes=played, **tables), run("b", episodes=other, **tables))
    assert [one.grade for one in found] == ["identical", "intervals"]
    assert found[1].notes == ["1 rows differ.", "Its numbers differ; its grade follows evaluation."]


def test_one_seed_is_not_judged(table):
    one = table[table["seed"] == 1]
    found = graded(run("a", (1,), evaluation=one), run("b", (1,), evaluation=one.assign(safety=1.0)))
    assert found.grade == compare.OPEN == compare.grade([found])
    assert "needs two or more seeds" in compare.conclusion([found])


def claims(*rows):
    columns = ("claim", "recipe", "scope", "ci_low", "ci_high", "interval", "verdict")
    return pd.DataFrame([dict(zip(columns, row, strict=True)) for row in rows])


def test_claims_agree_with_the_same_verdict_or_with_intervals_that_overlap(table):
    a = claims(("C1", "published", np.nan, 0.0, 2.0, "95% t over 3 seeds", "supported"))
    b = claims(("C1", "published", np.nan, 1.5, 3.0, "95% t over 3 seeds", "inconclusive"))
    tables = {"evaluation": table}
    found = compare.compare(run("a", claims=a, **tables), run("b", claims=b, **tables))[1]
    assert found.grade == "intervals"
    assert found.notes == [
        "C1, published: supported in a, inconclusive in b; the intervals overlap or are missing."
    ]
    apart = b.assign(ci_low=2.5)
    found = compare.compare(run("a", claims=a, **tables), run("b", claims=apart, **tables))[1]
    assert found.grade == "different" and "the intervals are disjoint" in found.notes[0]
    same = apart.assign(verdict="supported")
    found = compare.compare(run("a", claims=a, **tables), run("b", claims=same, **tables))[1]
    assert found.grade == "intervals"


@pytest.mark.parametrize("name", sorted(paths.TABLES))
def test_the_rows_of_every_committed_table_are_identified(name):
    for committed in ("laptop", "study", "smollm2"):
        if paths.table(committed, name).exists() and name != "episodes":
            frame, keys = paths.read_table(committed, name), set(compare.IDENTITY[name])
            assert frame.empty or keys <= set(frame.columns), committed
            assert not frame.duplicated([*keys & set(frame.columns)]).any(), committed
            measures = compare.MEASURES.get(name, ())
            assert frame.empty or set(measures) <= set(frame.columns), committed


@pytest.fixture
def kit(tmp_path, monkeypatch, table):
    """A repository with a finished run `smoke`."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    settings = dataclasses.replace(profiles.load("smoke"), seeds=(1, 2, 3)).as_dict()
    manifest = {"profile": "smoke", "settings": settings, "finished": None, "versions": {"torch": "1"}}
    manifest["hardware"] = {"cpu_capability": "AVX2"}
    for name in ("smoke", "mine"):
        paths.replace_text(paths.manifest(name), json.dumps(manifest))
        paths.write_table(table, name, "evaluation")
        paths.replace_text(paths.figures(name) / "safety.pdf", name)
    return tmp_path


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_command_compares_a_run_with_its_version_in_git(kit, table, capsys):
    assert cli.main(["verify", "--profile", "smoke", "--against", "smoke"]) == 2
    assert "The run 'smoke' is not in git" in capsys.readouterr().err
    git(kit, "init", "-q")
    git(kit, "add", ".")
    git(kit, "commit", "-q", "-m", "a run")
    manifest = json.loads(paths.manifest("smoke").read_text())
    manifest["hardware"]["cpu_capability"] = "DEFAULT"
    paths.replace_text(paths.manifest("smoke"), json.dumps(manifest))
    paths.write_table(table.assign(safety=table["safety"] * (1 + 1e-9)), "smoke", "evaluation")
    assert cli.main(["verify", "--profile", "smoke", "--against", "smoke"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("smoke against smoke in git") and "1 of 1 figures have the same bytes" in said
    assert "hardware: cpu_capability: DEFAULT | AVX2" in said and "torch" not in said
    assert said.endswith("The runs are equal within rounding: no difference exceeds 1e-06 of a number.\n")


def test_the_command_compares_two_runs_and_fails_if_they_differ(kit, table, capsys):
    assert cli.main(["verify", "--profile", "smoke", "--against", "mine"]) == 0
    assert "0 of 1 figures" in capsys.readouterr().out
    paths.write_table(table.assign(safety=table["safety"] + 100.0), "mine", "evaluation")
    assert cli.main(["verify", "--profile", "smoke", "--against", "mine"]) == 1
    assert "differ by more than chance" in capsys.readouterr().out
    paths.table("mine", "evaluation").write_text("")
    assert cli.main(["verify", "--profile", "smoke", "--against", "mine"]) == 2
    assert "error: The table evaluation is damaged" in capsys.readouterr().err
    assert cli.main(["verify", "--profile", "smoke", "--against", "yours"]) == 2
    assert "There is no run 'yours': the runs are mine, smoke." in capsys.readouterr().err


def test_the_command_says_that_runs_with_different_settings_are_not_expected_to_agree(kit, capsys):
    manifest = json.loads(paths.manifest("mine").read_text())
    manifest["settings"] |= {"games": ["ipd"], "workers": 7}  # a part of a run has the same numbers
    paths.replace_text(paths.manifest("mine"), json.dumps(manifest))
    assert cli.main(["verify", "--profile", "smoke", "--against", "mine"]) == 0
    assert "expected" not in capsys.readouterr().out
    manifest["settings"]["sft_steps"] += 1
    paths.replace_text(paths.manifest("mine"), json.dumps(manifest))
    assert cli.main(["verify", "--profile", "smoke", "--against", "mine"]) == 0
    assert "different settings, such as sft_steps: differences are expected." in capsys.readouterr().out


def test_the_spread_of_a_difference_is_that_of_the_kit_s_intervals(table):
    """One comparison is what `statistics.paired` gives for the same policy."""
    other = evaluation((1, 2, 3), np.random.default_rng(9))
    found = compare.judge(compare.differences("evaluation", table, other)).set_index("row")
    row = found.loc["kuhn, paper, sft, safety"]
    of = [
        one.query("game == 'kuhn' and stage == 'sft'").set_index("seed")["safety"] for one in (table, other)
    ]
    assert tuple(row[["difference", "low", "high"]]) == pytest.approx(statistics.paired(*of))
