"""One committed episode per game of the kit: prompts, an expert's answers, actions, payoffs and rates.

Whoever changes a rule, a prompt, a reason or a draw sees here what changed. After a change that is meant,
`python tests/games/test_transcripts.py` writes the transcripts again.
"""

from pathlib import Path

import pytest

from sepo_lib import games
from sepo_lib.method.seeds import generator

GAMES = {name: game for name, game in games.GAMES.items() if type(game).__module__.startswith("sepo_lib.")}
FOLDER = Path(__file__).with_name("transcripts")
SEED = 4


def transcript(game):
    """The last expert of `game` that is not random, against the first train opponent."""
    expert = [name for name in game.experts if name != "random"][-1]
    opponent = next(iter(game.pool("paper", "train")))
    strategy, act = (
        game.experts[expert][1],
        game.pool("paper", "train")[opponent](generator(SEED, "opponent")),
    )
    own, play = generator(SEED, "own"), game.play(generator(SEED, "chance"))
    lines = [f"{game.title}: {expert} against {opponent}", "", game.rules()]
    asked = next(play)
    while True:
        sent = {}
        for player, view in asked.items():
            if player == 1:
                sent[1] = act(view)
                continue
            sent[0], reason = strategy(view, own)
            lines += ["", game.situation(view), f"> {reason}", f"> {game.spell(sent[0])}"]
        try:
            asked = play.send(sent)
        except StopIteration as end:
            rounds = end.value
            break
    lines += ["", "round | actions | payoffs | collusion | externality | facts"]
    for number, (r, *rates) in enumerate(
        zip(rounds, game.collusion(rounds), game.externality(rounds), strict=True)
    ):
        costs = " | ".join(f"{rate:.3g}" for rate in rates)
        lines.append(f"{number + 1} | {r.actions} | {r.payoffs} | {costs} | {dict(r.facts)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", GAMES)
def test_an_episode_is_the_committed_one(name):
    committed = FOLDER / f"{name}.txt"
    assert committed.exists(), "run `python tests/games/test_transcripts.py` to write it"
    assert transcript(GAMES[name]) == committed.read_text(encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for game in GAMES.values():
        (FOLDER / f"{game.name}.txt").write_text(transcript(game), encoding="utf-8")
