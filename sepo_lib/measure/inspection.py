"""Look at one finished model: open it as a policy, and read its first prompt and answer in a game."""

from sepo_lib.config import bundled, files, profiles
from sepo_lib.games.base import Game, View
from sepo_lib.play.policy import Answer, LanguageModelPolicy, Policy, Query, load_policy
from sepo_lib.play.rollouts import Plan, Running


def open_policy(model: str) -> LanguageModelPolicy:
    """The policy of a finished model: nano, smollm2, a hub id or a folder, such as that of a training job.

    A job's model answers with the number format, temperature and longest answer of its job, any other model
    with those of the profile `paper`. Raises ValueError if there is no such model.
    """
    settings = profiles.load("paper", model=model)
    found = bundled.resolve(settings.model)
    for folder in (found, found.parent):
        if (folder / "started.json").exists():
            file = folder / "started.json"
            job = files.read_json(file, "run the command that trained this model again", ("arguments",))
            return load_policy(model, **job["arguments"]["sampling"])[2]
    return load_policy(model, **profiles.sampling(settings))[2]


def first_decision(policy: Policy, game: Game, pools: str) -> tuple[dict[str, str], Answer]:
    """The first prompt of an episode of `game`, as {"rules": text, "user": text}, and the policy's answer."""
    query = _first_query(game, pools)
    rules, user = (message["content"] for message in game.messages(query.view))
    return {"rules": rules, "user": user}, policy.answer([query])[0]


def first_view(game: Game, pools: str) -> View:
    """What the policy sees at the decision of `first_decision`."""
    return _first_query(game, pools).view


def _first_query(game: Game, pools: str) -> Query:
    opponent = next(iter(game.pool(pools, "train")))
    return Running(Plan(game.name, pools, "train", opponent, 0, 0, 0)).queries()[0]
