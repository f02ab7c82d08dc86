"""What the jobs of a run do: each `run_*` function is one job.

A job leaves its evaluations in its folder as Parquet files; `results` makes the run's tables of them.
"""

from pathlib import Path

import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.config.progress import Report
from sepo_lib.measure import evaluation, kuhn_strategy
from sepo_lib.method import credit
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import load_policy
from sepo_lib.run import model_cards
from sepo_lib.run.jobs import fingerprint_of
from sepo_lib.training import demonstrations, sepo, sft
from sepo_lib.training.best_response import BestResponse

ROUNDING = 1e-9  # two advantages that differ by less are the same


def run_base(
    folder: Path, report: Report, *, model: str, weights: str, load: dict, play: dict, where: list, keys: dict
) -> dict:
    """Evaluate the base model. `weights` is its fingerprint, so that another model means another job."""
    _, _, policy = load_policy(model, **load)
    for number, pair in enumerate(where):
        _evaluate(policy, folder, "base", play, [pair], keys)
        report(number + 1, {})
    return {}


def run_sft(
    folder: Path,
    report: Report,
    *,
    model: str,
    weights: str,
    load: dict,
    data: str,
    data_sha256: dict,
    train: dict,
    play: dict,
    where: list,
    keys: dict,
) -> dict:
    """Fine-tune on demonstrations of all games at once, then evaluate. Leaves model/ and sft-log.parquet."""
    language_model, tokenizer, _ = load_policy(model, **load)
    examples = demonstrations.load(paths.root() / data, sorted(data_sha256), "train")
    rows = sft.train(language_model, tokenizer, examples, folder, report=report, **train)
    evaluation.save({"sft": _log(rows, keys)}, folder, "log")
    if train["lora"]:
        facts = {"data": data, "data_sha256": data_sha256, "train": train, "load": load, "run": keys}
        model_cards.write_card(folder / "adapter", model, "sft", facts)
    _, _, policy = load_policy(str(folder / "model"), **load)
    _evaluate(policy, folder, "sft", play, where, keys)
    return {"loss": rows[-1]["loss"]}


def run_sepo(
    folder: Path,
    report: Report,
    *,
    start: str,
    after: str,
    load: dict,
    game: str,
    pools: str,
    preset: str,
    arm: str,
    train: dict,
    play: dict,
    keys: dict,
    weights: list | None = None,
    exploiter: dict | None = None,
    twin: dict | None = None,
) -> dict:
    """Train with SEPO from the SFT model of job `start`, evaluating at every checkpoint.

    `after` is that job's fingerprint; `weights` are those of J (le, lc, lx) where they are not the game's
    own, `exploiter` the arguments of a `BestResponse`. `twin` names a finished job (with its fingerprint)
    whose results are copied: either its estimator is the same in this game (`same`), or it is the job of arm
    reward_only that differs in nothing but the arm, and `constant` would have had the same advantages in
    every batch of it. Leaves model/ (not where results are copied), training-log.parquet and evaluations.
    """
    distributed.barrier()  # the first one has made the job's folder ready
    if twin and _take_over(folder, twin, keys):
        report(keys["step"], {})
        return {"shared_with": twin["name"]}
    sft_model = paths.job(keys["profile"], start) / "model"
    model, tokenizer, policy = load_policy(str(sft_model), **load)

    def evaluate(step: int) -> None:
        model.eval()
        _evaluate(policy, folder, f"{step:05d}", play, [(game, pools)], {**keys, "step": step})
        model.train()

    rows = sepo.train(
        model,
        tokenizer,
        policy.engine,
        folder,
        game=games.get(game),
        pools=pools,
        estimator=credit.preset(preset, arm),
        temperature=load["temperature"],
        max_new_tokens=load["max_new_tokens"],
        report=report,
        evaluate=evaluate,
        weights=games.Weights(*weights) if weights else None,
        exploiter=BestResponse(**exploiter) if exploiter else None,
        **train,
    )
    if distributed.rank():
        return {}
    if train["lora"]:
        facts = {"game": game, "pools": pools, "preset": preset, "arm": arm}
        facts |= {"train": train, "load": load, "run": keys, "base_fingerprint": after}
        model_cards.write_card(folder / "model", paths.relative(sft_model), "sepo", facts)
    log = _log(rows, {"game": game, "pools": pools, **keys})
    evaluation.save({"training": log}, folder, "log")
    return {"objective": rows[-1]["objective"]}


def _take_over(folder: Path, twin: dict, keys: dict) -> bool:
    """Copy the tables of a finished job whose estimator is the same, or whose log says that `constant` had
    the same advantages (within ROUNDING) in every batch. False, and nothing done, otherwise."""
    source = paths.job(keys["profile"], twin["name"])
    if fingerprint_of(source) != twin["fingerprint"]:
        return False
    log = pd.read_parquet(source / "training-log.parquet")
    if not twin.get("same") and log["constant_difference"].max() > ROUNDING:
        return False
    labels = {"arm": keys["arm"], "preset": keys["preset"]}
    if distributed.rank() == 0:
        for file in source.glob("*.parquet"):
            name, _, label = file.stem.partition("-")
            evaluation.save({name: pd.read_parquet(file).assign(**labels)}, folder, label)
    return True


def _log(rows: list[dict], keys: dict) -> pd.DataFrame:
    """A training log as a table: its rows with the job's `keys`, but each with the step of its own."""
    return pd.DataFrame(rows).assign(**{name: value for name, value in keys.items() if name != "step"})


def _evaluate(policy, folder: Path, label: str, play: dict, where: list, keys: dict) -> None:
    """Measure `policy` in every (game, pool set) of `where`; `play` holds the sizes of the evaluation."""
    for game, pools in where:
        reading = kuhn_strategy.Reading(**play["reading"])
        sizes = {**play, "episodes": play["episodes"][game], "reading": reading}
        tables = evaluation.evaluate(policy, games.get(game), pools, **sizes, keys=keys)
        if distributed.rank() == 0:
            evaluation.save(tables, folder, f"{game}-{pools}-{label}")
