"""One contract for every game, then rules and opponents of ipd, auction and kuhn against known answers."""

import importlib
import itertools
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pyspiel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepo_lib import games, thirdparty
from sepo_lib.games import GAMES, POOLS, View, auction, ipd, kuhn
from sepo_lib.method.seeds import generator


def play(game, opponent, seed, policy=None):
    """One episode of `policy` (uniform by default): its rounds and a (player, View, action) a decision."""
    rng = generator(seed, "policy")
    policy = policy or (lambda view: view.legal[rng.integers(len(view.legal))])
    return drive(game.play(generator(seed, "chance")), (policy, opponent(generator(seed, "opponent"))))


def drive(episode, acts):
    """An episode, or a part of one, to its end between two players; see `play`."""
    seen, asked = [], next(episode)
    while True:
        sent = {player: acts[player](view) for player, view in asked.items()}
        for player, view in asked.items():
            assert sent[player] in view.legal
            seen.append((player, view, sent[player]))
        try:
            asked = episode.send(sent)
        except StopIteration as end:
            return end.value, seen


def uniform(rng):
    return lambda view: view.legal[rng.integers(len(view.legal))]


def script(actions):
    """A player that says `actions` one after the other."""
    words = iter(actions)
    return lambda view: next(words)


def opponents(game):
    """Every (pool set, pool, name, opponent) of a game."""
    for pools, by_pool in game.pools.items():
        for pool, members in by_pool.items():
            for name, opponent in members.items():
                yield pools, pool, name, opponent


def legal_tuples(game):
    return sorted({view.legal for seed in range(3) for _, view, _ in play(game, uniform, seed)[1]})


LEGAL = {name: legal_tuples(game) for name, game in GAMES.items()}
LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
class TestContract:
    def test_episode_replays_from_its_seed(self, game):
        for _, pool, name, opponent in opponents(game):
            rounds, seen = play(game, opponent, 7)
            assert (rounds, seen) == play(game, opponent, 7), (pool, name)
            assert len(rounds) == game.rounds
            for rates in (game.collusion(rounds), game.externality(rounds)):
                assert len(rates) == len(rounds)
                assert all(0 <= rate <= 1 for rate in rates)

    def test_the_parts_of_an_episode_need_each_other_for_nothing(self, game):
        """Played last to first, and with nothing shown of the others, they are the rounds of the episode."""
        acts = (lambda view: view.legal[0], lambda view: view.legal[-1])
        parts = game.parts(generator(7, "chance"))
        assert len(parts) == (game.rounds if game.memoryless else 1)
        rounds = []
        for part in reversed(parts):
            rounds = drive(part([]), acts)[0] + rounds
        assert rounds == play(game, lambda rng: acts[1], 7, acts[0])[0]

    def test_seeds_differ(self, game):
        assert len({repr(play(game, uniform, seed)[0]) for seed in range(8)}) == 8

    def test_episodes_do_not_disturb_each_other(self, game):
        """Interleaved with a second episode, every opponent plays what it plays alone."""
        for _, pool, name, opponent in opponents(game):
            alone = play(game, opponent, 3)
            nested = play(game, lambda rng, o=opponent: self._distracted(game, o, rng), 3)
            assert alone == nested, (pool, name)

    @staticmethod
    def _distracted(game, opponent, rng):
        act = opponent(rng)

        def both(view):
            if view.round == 1:
                play(game, opponent, 4)
            return act(view)

        return both

    def test_views_report_the_finished_rounds(self, game):
        for seed in range(5):
            rounds, seen = play(game, uniform, seed)
            for player, view, _ in seen:
                done = rounds[: view.round]
                assert view.rounds == game.rounds
                assert view.mine == tuple(r.actions[player] for r in done)
                assert view.theirs == tuple(r.actions[1 - player] for r in done)
                assert view.payoffs == tuple(r.payoffs[player] for r in done)
                assert len(set(view.legal)) == len(view.legal)
            for player, (number, finished) in itertools.product((0, 1), enumerate(rounds)):
                sent = tuple(action for p, view, action in seen if (p, view.round) == (player, number))
                assert finished.actions[player] in (sent, *sent[:1])  # Kuhn: all words of the hand

    def test_views_do_not_leak_private_facts(self, game):
        """One first-round view of the policy goes with several views of its opponent, and conversely."""
        seen = [play(game, uniform, seed, lambda view: view.legal[0])[1] for seed in range(300)]
        private = [
            any(v.facts for p, v, _ in decisions if p == player) for player in (0, 1) for decisions in seen
        ]
        assert all(private) or not any(private)
        for player in (0, 1) if all(private) else ():
            others = defaultdict(set)
            for decisions in seen:
                facts = [next(repr(v.facts) for p, v, _ in decisions if p == q) for q in (0, 1)]
                others[facts[player]].add(facts[1 - player])
            assert max(len(views) for views in others.values()) >= 2

    def test_pools(self, game):
        assert "paper" in game.pools
        for pools in game.pools.values():
            assert tuple(pools) == POOLS
            assert all(pools.values())
            if type(game).__module__.startswith("sepo_lib."):
                assert len(pools["shift"]) >= 3
            for one, other in itertools.combinations(POOLS, 2):
                for name in set(pools[one]) & set(pools[other]):
                    assert pools[one][name] is pools[other][name], name
        held_out = {name for pools in game.pools.values() for name in pools["shift"]}
        assert held_out.isdisjoint(name for _, pool, name, _ in opponents(game) if pool != "shift")

    def test_unknown_pools_name_the_choices(self, game):
        with pytest.raises(ValueError, match="paper"):
            game.pool("no such set", "train")
        with pytest.raises(ValueError, match="exploiter"):
            game.pool("paper", "no such pool")

    def test_illegal_action_raises(self, game):
        with pytest.raises((KeyError, ValueError)):
            episode = game.play(generator(0))
            episode.send({player: "NOTHING" for player in next(episode)})

    def test_prompts(self, game):
        rules = game.rules()
        assert len(rules.split()) <= 65
        assert "alone on the last line" in " ".join(rules.split())  # the rule of reading
        for _, view, _ in play(game, uniform, 5)[1]:
            system, user = game.messages(view)
            assert system == {"role": "system", "content": rules}
            assert user == {"role": "user", "content": game.situation(view)}
            words = [a for a in view.legal if isinstance(a, str)] or [view.legal[-1]]
            assert all(game.spell(word) in user["content"] for word in words)

    def test_parse_reads_what_spell_writes(self, game):
        for legal in LEGAL[game.name]:
            for action in legal:
                word = game.spell(action)
                for reply in (word, word.lower(), f"**{word}**.", f'"{word}."', f"\n  `{word}` \n\n"):
                    assert game.parse(reply, legal) == action
                assert game.parse(word, [other for other in legal if other != action]) is None
        assert game.parse("", LEGAL[game.name][0]) is None
        assert game.parse(" \n ", LEGAL[game.name][0]) is None

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_parse_is_strict(self, game, data):
        legal = data.draw(st.sampled_from(LEGAL[game.name]))
        action, other = (data.draw(st.sampled_from(legal)) for _ in range(2))
        one, two = game.spell(action), game.spell(other)
        words, text = f"z{data.draw(LETTERS)}", data.draw(st.text(max_size=40))
        assert game.parse(f"{words}.\n{one}", legal) == action
        assert game.parse(f"{text}\n{one}", legal) in (None, action)
        assert game.parse(f"{words}\n{one}", legal) is None  # the action may complete the line above
        assert game.parse(f"{two}\n{one}\n", legal) in (None, action if one == two else None)
        around = (f"{one} {words}", f"{words} {one}", f"{one}\n{words} .", f"{words}: {one}", f"{one}?")
        for reply in (*around, f"{one} {two}", f"{one} or {two}", f"{one}, {two}"):
            assert game.parse(reply, legal) is None
        for reply in (text, f"{one}{text}", f"{text}{one}"):
            assert game.parse(reply, legal) in (None, *legal)


def test_unknown_game_names_the_choices():
    with pytest.raises(ValueError, match="ipd, auction, split, deal, kuhn"):
        games.get("chess")
    assert games.get("kuhn").name == "kuhn"


# --- iterated prisoner's dilemma ----------------------------------------------------------------------

WORDS = {"C": "COOPERATE", "D": "DEFECT"}
IPD, AUCTION, KUHN = (GAMES[name] for name in ("ipd", "auction", "kuhn"))


def answers(opponent, moves, seed=0):
    """The opponent's moves, in letters, against a policy that plays `moves`."""
    rounds, _ = play(IPD, opponent, seed, script(WORDS[move] for move in moves))
    return "".join(r.actions[1][0] for r in rounds)


@pytest.mark.parametrize(
    ("pools", "pool", "name", "moves", "expected"),
    [
        ("paper", "train", "tit_for_tat", "CDDCCDCD", "CCDDCCDC"),
        ("paper", "train", "grim", "CCDCCCCC", "CCCDDDDD"),
        ("paper", "train", "grim", "CCCCCCCC", "CCCCCCCC"),
        ("paper", "train", "generous_tit_for_tat", "CCCCCCCC", "CCCCCCCC"),
        ("paper", "exploiter", "always_defect", "CDCCDCCD", "DDDDDDDD"),
        ("paper", "exploiter", "alternator", "DDCCDCCD", "CDCDCDCD"),
        ("paper", "collusive", "always_cooperate", "DDCDDCDD", "CCCCCCCC"),
        ("paper", "shift", "win_stay_lose_shift", "CDDCCDCD", "CCDCCCDD"),
        ("paper", "shift", "suspicious_tit_for_tat", "CDDCCDCD", "DCDDCCDC"),
        ("paper", "shift", "two_tits_for_tat", "CDCCCDDC", "CCDDCCDD"),
        ("conflict", "train", "tit_for_tat", "CDDCCDCD", "CCDDCCDC"),
        ("conflict", "train", "tit_for_two_tats", "CDDCDDDC", "CCCDCCDD"),
        ("conflict", "train", "very_generous_tit_for_tat", "CCCCCCCC", "CCCCCCCC"),
    ],
)
def test_ipd_opponent(pools, pool, name, moves, expected):
    assert answers(IPD.pool(pools, pool)[name], moves) == expected


@pytest.mark.parametrize(
    ("pools", "name", "rate"),
    [
        ("paper", "generous_tit_for_tat", 0.25),
        ("paper", "random", 0.5),
        ("conflict", "very_generous_tit_for_tat", 0.6),
        ("conflict", "mostly_cooperate", 0.9),
    ],
)
def test_ipd_cooperation_rate_after_defection(pools, name, rate):
    opponent = IPD.pool(pools, "train")[name]
    moves = "".join(answers(opponent, "DDDDDDDD", seed)[1:] for seed in range(200))
    assert abs(moves.count("C") / len(moves) - rate) < 0.05  # 1,400 moves: four standard errors


def scripts(count):
    rng = generator(0, "scripts")
    return ["".join(rng.choice(["C", "D"], size=8, p=[0.6, 0.4])) for _ in range(count)]


@pytest.fixture(scope="module")
def axelrod():
    """Axelrod's own matches and classifiers: `import axelrod` would give them too, but takes 14 seconds."""
    with thirdparty.axelrod_modules():
        import axelrod

        axelrod.DEFAULT_TURNS = 200
        axelrod.Classifiers = importlib.import_module("axelrod.classifier").Classifiers
        axelrod.Match = importlib.import_module("axelrod.match").Match
        axelrod.MockPlayer = importlib.import_module("axelrod.mock_player").MockPlayer
        return axelrod


def made(strategy):
    return thirdparty.axelrod_class(f"strategies.{strategy}")()


def test_ipd_shift_plays_as_in_axelrod(axelrod):
    moves = scripts(3)
    for name, strategy in ipd.SHIFT_STRATEGIES.items():
        player = made(strategy)
        for trait in ("long_run_time", "inspects_source", "manipulates_source", "manipulates_state"):
            assert not axelrod.Classifiers[trait](player), name
        for sequence in [] if axelrod.Classifiers["stochastic"](player) else moves:
            policy = axelrod.MockPlayer([getattr(axelrod.Action, move) for move in sequence])
            match = axelrod.Match((player, policy), turns=8).play()
            expected = "".join(str(pair[0]) for pair in match)
            assert answers(IPD.pool("paper", "shift")[name], sequence) == expected, name


def test_ipd_shift_strategies_are_many_and_different(axelrod):
    assert len(ipd.SHIFT_STRATEGIES) >= 30
    players = {name: made(strategy) for name, strategy in ipd.SHIFT_STRATEGIES.items()}
    stochastic = {name for name, player in players.items() if axelrod.Classifiers["stochastic"](player)}
    stochastic |= {"random", "generous_tit_for_tat", "very_generous_tit_for_tat", "mostly_cooperate"}
    moves = ["DDDDDDDD", "CCCCCCCC", *scripts(30)]
    deterministic = {name: opponent for *_, name, opponent in opponents(IPD) if name not in stochastic}
    played = {
        name: "".join(answers(opponent, sequence) for sequence in moves)
        for name, opponent in deterministic.items()
    }
    assert [names for names in Counter(played.values()).values() if names > 1] == []


def test_an_opponent_of_the_dilemma_does_not_import_the_whole_of_axelrod(tmp_path):
    """In a fresh process; a later `import axelrod` is not disturbed (a stub takes the library's place)."""
    code = """
import sys
import numpy as np
from sepo_lib.games import ipd
from sepo_lib.games.base import View

act = ipd.PAPER["train"]["tit_for_tat"](np.random.default_rng(0))
assert act(View(0, 8, ipd.ACTIONS)) == "COOPERATE"
assert not [name for name in sys.modules if name.startswith("axelrod")]
sys.path.insert(0, sys.argv[1])
import axelrod
assert axelrod.WHOLE
"""
    (tmp_path / "axelrod.py").write_text("WHOLE = True")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_ipd_opponent_refuses_to_skip_or_repeat_a_round():
    act = IPD.pool("paper", "train")["tit_for_tat"](generator(0))
    act(View(0, 8, ipd.ACTIONS))
    with pytest.raises(ValueError, match="round 1 was due"):
        act(View(0, 8, ipd.ACTIONS))


def test_ipd_payoffs_and_rates():
    expected = {"CC": (3, 3, 0), "CD": (0, 5, 1 / 6), "DC": (5, 0, 1 / 6), "DD": (1, 1, 2 / 3)}
    for (own, other), (mine, theirs, cost) in expected.items():
        moves = script([WORDS[own]] * 8)
        rounds, _ = play(IPD, lambda rng, other=other: script([WORDS[other]] * 8), 0, moves)
        assert {r.payoffs for r in rounds} == {(mine, theirs)}
        assert IPD.externality(rounds) == pytest.approx([cost] * 8)
        assert IPD.collusion(rounds) == [float(own == "D")] * 8


def test_ipd_opponent_knows_the_number_of_rounds():
    """Back stabber defects in the last two rounds of a match, if it knows how long the match is."""
    assert answers(ipd.axelrod_player("backstabber.BackStabber"), "CCCCCCCC") == "CCCCCCDD"


# --- auction ------------------------------------------------------------------------------------------


def test_auction_payoffs_over_all_bids_and_values():
    ranks, earned = "LOW MEDIUM HIGH".split(), {"LOW": (1, 3), "MEDIUM": (0, 2), "HIGH": (-1, 1)}
    seen, ties = set(), defaultdict(set)
    for bids in itertools.product(ranks, ranks):
        for seed in range(12):
            rounds, _ = play(AUCTION, lambda rng, b=bids[1]: lambda view: b, seed, lambda view, b=bids[0]: b)
            for r in rounds:
                values, winner = r.facts["values"], r.facts["winner"]
                if bids[0] == bids[1]:
                    ties[bids[0], values].add(winner)
                else:
                    assert winner == int(ranks.index(bids[1]) > ranks.index(bids[0]))
                assert r.payoffs[winner] == earned[bids[winner]][(2, 4).index(values[winner])]
                assert r.payoffs[1 - winner] == 0
                seen.add((bids, values))
            costs = [float(r.facts["winner"] == 0 and r.payoffs[0] in (0, -1)) for r in rounds]
            assert AUCTION.externality(rounds) == costs
            assert AUCTION.collusion(rounds) == [float(bids[0] == "LOW")] * 6
    assert len(seen) == 9 * 4
    assert len(ties) == 3 * 4
    assert set(map(frozenset, ties.values())) == {frozenset({0, 1})}


def test_auction_values_and_ties_are_fair():
    rounds = [
        r for seed in range(300) for r in play(AUCTION, lambda rng: lambda v: "LOW", seed, lambda v: "LOW")[0]
    ]
    draws = [(r.facts["values"][0] == 4, r.facts["values"][1] == 4, r.facts["winner"]) for r in rounds]
    assert np.abs(np.mean(draws, axis=0) - 0.5).max() < 0.05  # 1,800 rounds: four standard errors
    assert np.abs(np.corrcoef(np.transpose(draws).astype(float)) - np.eye(3)).max() < 0.1


@pytest.mark.parametrize(
    ("pool", "name", "expected"),
    [
        ("train", "conservative", "LLLLLL"),
        ("exploiter", "aggressive", "HHHHHH"),
        ("exploiter", "adaptive", "MMHHMM"),
        ("collusive", "always_low", "LLLLLL"),
        ("shift", "always_medium", "MMMMMM"),
        ("shift", "alternating", "LHLHLH"),
    ],
)
def test_auction_opponent(pool, name, expected):
    policy = script("LOW HIGH MEDIUM LOW LOW HIGH".split())
    rounds, _ = play(AUCTION, AUCTION.pool("paper", pool)[name], 0, policy)
    assert "".join(r.actions[1][0] for r in rounds) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("truthful", {2: "MEDIUM", 4: "HIGH"}), ("shaded", {2: "LOW", 4: "MEDIUM"})]
)
def test_auction_opponent_bids_on_its_own_value(name, expected):
    rounds = [r for seed in range(5) for r in play(AUCTION, AUCTION.pool("paper", "train")[name], seed)[0]]
    assert {(r.facts["values"][1], r.actions[1]) for r in rounds} == set(expected.items())


def test_auction_views():
    for seed in range(5):
        rounds, seen = play(AUCTION, uniform, seed)
        for player, view, _ in seen:
            wins = tuple(r.facts["winner"] == player for r in rounds[: view.round])
            assert view.facts == {"value": rounds[view.round].facts["values"][player], "wins": wins}


def test_auction_win_stay_lose_raise():
    act = AUCTION.pool("paper", "shift")["win_stay_lose_raise"](generator(0))
    assert act(View(0, 6, auction.ACTIONS, facts={"value": 2, "wins": ()})) == "LOW"
    for last, won, expected in [
        ("LOW", True, "LOW"),
        ("LOW", False, "MEDIUM"),
        ("MEDIUM", True, "MEDIUM"),
        ("MEDIUM", False, "HIGH"),
        ("HIGH", False, "HIGH"),
    ]:
        view = View(1, 6, auction.ACTIONS, (last,), ("LOW",), (0.0,), {"value": 2, "wins": (won,)})
        assert act(view) == expected


def test_auction_prompt_shows_the_visible_state():
    facts = {"value": 4, "wins": (True, False)}
    view = View(2, 6, auction.ACTIONS, ("HIGH", "LOW"), ("LOW", "MEDIUM"), (1.0, 0.0), facts)
    assert AUCTION.situation(view) == (
        "Round 3 of 6. Your value is 4. History (you, other): HIGH LOW won; LOW MEDIUM lost. "
        "Choose LOW, MEDIUM or HIGH."
    )


# --- Kuhn poker ---------------------------------------------------------------------------------------

# First mover's chips by cards (first, second) and complete history, written out by hand.
DEALS = ("JQ", "JK", "QJ", "QK", "KJ", "KQ")
FIRST_MOVER_CHIPS = {
    "PASS PASS": (-1, -1, 1, -1, 1, 1),
    "PASS BET FOLD": (-1, -1, -1, -1, -1, -1),
    "PASS BET CALL": (-2, -2, 2, -2, 2, 2),
    "BET FOLD": (1, 1, 1, 1, 1, 1),
    "BET CALL": (-2, -2, 2, -2, 2, 2),
}


@pytest.mark.parametrize("line", FIRST_MOVER_CHIPS)
def test_kuhn_payoffs_over_all_deals(line):
    words, seen = tuple(line.split()), set()

    def follow(view):
        return words[len(view.facts["history"])]

    for seed in range(20):
        for hand, r in enumerate(play(KUHN, lambda rng: follow, seed, follow)[0]):
            first = r.facts["first"]
            assert first == hand % 2
            deal = r.facts["cards"][first] + r.facts["cards"][1 - first]
            chips = FIRST_MOVER_CHIPS[line][DEALS.index(deal)]
            assert (r.payoffs[first], r.payoffs[1 - first]) == (chips, -chips)
            assert r.facts["history"] == words
            assert (r.actions[first], r.actions[1 - first]) == (words[::2], words[1::2])
            assert KUHN.collusion([r]) == [float("FOLD" in r.actions[0])]
            assert KUHN.externality([r]) == [0.0]
            seen.add((deal, first))
    assert len(seen) == 6 * 2


def test_kuhn_deals_are_uniform():
    deals = Counter(r.facts["cards"] for seed in range(300) for r in play(KUHN, uniform, seed)[0])
    assert len(deals) == 6
    assert max(abs(count / 1800 - 1 / 6) for count in deals.values()) < 0.035  # four standard errors


def test_kuhn_views():
    for seed in range(5):
        rounds, seen = play(KUHN, uniform, seed)
        for player, view, _ in seen:
            hand, said = rounds[view.round].facts, view.facts["history"]
            first = hand["first"] == player
            assert view.facts == {"card": hand["cards"][player], "history": said, "first": first}
            assert said == hand["history"][: len(said)]


def test_kuhn_has_exactly_twelve_prompts():
    expected = {KUHN.situation(view) for _, view in kuhn.INFORMATION_SETS}
    views = [view for seed in range(60) for _, view, _ in play(KUHN, uniform, seed)[1]]
    assert len(expected) == 12
    assert {KUHN.situation(view) for view in views} == expected
    facts = {repr((view.facts, view.legal)) for _, view in kuhn.INFORMATION_SETS}
    assert {repr((view.facts, view.legal)) for view in views} == facts
    view = kuhn.view_of("Q", ("PASS", "BET"), first=True)
    assert KUHN.situation(view) == (
        "Your card is Q. You are first. History: you PASS, other BET. Choose FOLD or CALL."
    )
    view = kuhn.view_of("J", ("BET",), first=False)
    assert KUHN.situation(view) == "Your card is J. You are second. History: other BET. Choose FOLD or CALL."


def test_kuhn_information_sets_are_openspiels():
    states = {}

    def walk(state):
        if not state.is_chance_node() and not state.is_terminal():
            states[state.information_state_string()] = state
        for action in state.legal_actions():
            walk(state.child(action))

    walk(pyspiel.load_game("kuhn_poker").new_initial_state())
    assert sorted(states) == sorted(name for name, _ in kuhn.INFORMATION_SETS)
    for name, view in kuhn.INFORMATION_SETS:
        assert [kuhn.OPENSPIEL_ACTION[word] for word in view.legal] == states[name].legal_actions()
        assert view.facts["first"] == (states[name].current_player() == 0)


# Letters in the order of `INFORMATION_SETS`: to open, after a pass, after a bet, after own pass and a bet;
# in each with J, Q, K.
@pytest.mark.parametrize(
    ("pools", "pool", "name", "expected"),
    [
        ("paper", "train", "tight_passive", "PPB PPB FFC FFC"),
        ("paper", "train", "loose_aggressive", "PBB PBB FCC FCC"),
        ("paper", "exploiter", "value_bettor", "PBB PBB FFC FFC"),
        ("paper", "exploiter", "always_bet", "BBB BBB CCC CCC"),
        ("paper", "collusive", "loose_aggressive", "PBB PBB FCC FCC"),
        ("paper", "shift", "bluffer", "BPB BPB FFC FFC"),
        ("paper", "shift", "calling_station", "PPP PPP CCC CCC"),
        ("conflict", "train", "tight_passive", "PPB PPB FFC FFC"),
    ],
)
def test_kuhn_opponent(pools, pool, name, expected):
    act = KUHN.pool(pools, pool)[name](generator(0))
    for _ in range(3):
        words = [act(view)[0] for _, view in kuhn.INFORMATION_SETS]
        assert "".join(words) == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("pool", "name", "expected"),
    [
        ("train", "nash", [1 / 3, 0, 1, 1 / 3, 0, 1, 0, 1 / 3, 1, 0, 2 / 3, 1]),
        ("shift", "nash_alpha_0", [0, 0, 0, 1 / 3, 0, 1, 0, 1 / 3, 1, 0, 1 / 3, 1]),
        ("shift", "random", [0.5] * 12),
    ],
)
def test_kuhn_mixed_opponent(pool, name, expected):
    act = KUHN.pool("paper", pool)[name](generator(0))
    bold = [np.mean([act(view) in ("BET", "CALL") for _ in range(2000)]) for _, view in kuhn.INFORMATION_SETS]
    assert np.abs(np.subtract(bold, expected)).max() < 0.045  # four standard errors


@pytest.mark.parametrize(("name", "expected"), [("nash", 0.0), ("nash_alpha_0", 0.0), ("random", 11 / 12)])
def test_kuhn_tables_in_openspiel(name, expected):
    """NashConv of the equilibria is 0, and of uniform play the 11/12 that OpenSpiel documents."""
    from open_spiel.python.algorithms.exploitability import nash_conv
    from open_spiel.python.policy import tabular_policy_from_callable

    names = [state for state, _ in kuhn.INFORMATION_SETS]
    bold = dict(zip(names, sum(kuhn.STRATEGIES[name], ()), strict=True))

    def odds(state):
        probability = bold[state.information_state_string()]
        return [(0, 1 - probability), (1, probability)]

    conv = nash_conv(kuhn.engine(), tabular_policy_from_callable(kuhn.engine(), odds))
    assert conv == pytest.approx(expected, abs=1e-9)
