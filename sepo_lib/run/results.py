"""The tables of a run, made of what its finished jobs left, and differences paired over seeds."""

from collections.abc import Iterator, Sequence

import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.config.profiles import Settings
from sepo_lib.measure import job_tables, statistics
from sepo_lib.measure.rows import KEYS, mark_reported
from sepo_lib.method import credit
from sepo_lib.run import recipes
from sepo_lib.run.job import Job, finished, state
from sepo_lib.run.job_arguments import game_of

#: The columns that a table without rows is written with; of tables that are not listed, KEYS.
HEADERS = {
    "behaviour": (*KEYS, "kind", "situation", "action", "value", "decisions"),
    "ablation": (*KEYS, "kind"),
    "exploiters": ("profile", "model", "exploiter", "baseline", "stage", "seed", "step"),
    "sweep": (*KEYS, "multiple", "exploit_weight"),
    "replication": (*KEYS, "share", "top_p"),
}


# --------------------------------------------------------------------------------------------- tables


def empty(name: str) -> pd.DataFrame:
    """Table `name` without rows: the columns that identify one, so that every reader can read the file."""
    return pd.DataFrame(columns=list(HEADERS.get(name, KEYS)))


def collect(settings: Settings, jobs: list[Job], name: str) -> pd.DataFrame:
    """All rows of table `name` that the `jobs` left; a job that is listed twice counts once."""
    folders = dict.fromkeys(paths.job(settings.run, job.name) for job in jobs)
    return job_tables.collect(list(folders), name)


def collect_tables(settings: Settings, jobs: list[Job]) -> dict[str, pd.DataFrame]:
    """The tables that the finished `jobs` add up to; a table without rows is left out.

    evaluation, episodes (with `keep_episodes`), training, sft, gradient, and exploitability and strategies of
    Kuhn. Evaluation, exploitability and strategies have the column `reported` (`rows.mark_reported`).
    """
    names = (*_evaluation_tables(settings), "training", "sft", "gradient")
    tables = {name: collect(settings, jobs, name) for name in names}
    if len(tables.get("episodes", ())):
        tables["episodes"] = job_tables.without_bulk(tables["episodes"])
    tables["evaluation"] = mark_reported(tables["evaluation"])
    reported = tables["evaluation"].query("reported")[list(KEYS)].assign(reported=True)
    for name in ("exploitability", "strategies"):
        if len(tables[name]):
            tables[name] = tables[name].merge(reported, how="left", on=list(KEYS))
            tables[name]["reported"] = tables[name]["reported"].eq(True)
    return {name: table for name, table in tables.items() if len(table)}


def write_tables(settings: Settings) -> dict[str, pd.DataFrame]:
    """Write the tables that more than one notebook adds to, and return them (`collect_tables`).

    They hold the rows of all finished jobs of the run, in the order of the job lists below, whichever
    notebook calls: no notebook drops the rows of another. A table without rows is written with its header.
    Prints how many jobs are left out because they have to run again.
    """
    main = [*recipes.base_jobs(settings), *recipes.sft_jobs(settings), *recipes.sepo_jobs(settings)]
    listed = [*main, *recipes.gradient_jobs(settings), *recipes.ablation_jobs(settings)]
    states = [(job, state(settings.run, job)) for job in listed]
    done = [job for job, one in states if one.usable]
    if again := {job.name: why for job, (kind, why) in states if kind in ("stale", "damaged")}:
        name, why = next(iter(again.items()))
        number = f"{len(again)} earlier jobs" if len(again) > 1 else "1 earlier job"
        print(f"The tables lack {number} that must run again, such as {name}: {why}.")
    tables = collect_tables(settings, done)
    for name in (*_evaluation_tables(settings), "training", "sft"):
        paths.write_table(tables.get(name, empty(name)), settings.run, name)
    return tables


def write_studies(settings: Settings, jobs: list[Job]) -> dict[str, pd.DataFrame]:
    """Write `estimators.parquet` and `headroom.csv` from the finished `study_jobs`, and return both."""
    tables = {name: collect(settings, jobs, name) for name in ("estimators", "headroom")}
    for name, table in tables.items():
        paths.write_table(table if len(table) else empty(name), settings.run, name)
    return tables


def on_own_pools(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that were played on the pool set that the run trains that game on."""
    return table[table["pools"] == table["game"].map(lambda game: settings.of("pools", game))]


def of_main_run(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the main run: base, SFT and what `recipes.sepo_jobs` trains, each game on its own pools.

    All other rows of a table belong to the ablation: other pool sets and other arms.
    """
    main = {(job.arguments["preset"], job.arguments["arm"]) for job in recipes.sepo_jobs(settings)}
    table = on_own_pools(settings, table)
    rows = zip(table["stage"], table["preset"], table["arm"], strict=True)
    return table[[stage != "sepo" or (preset, arm) in main for stage, preset, arm in rows]]


def ablation_table(settings: Settings, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """`ablation.csv`, without rows if the run has no ablation. The column `kind` has two values.

    "outcome": a trained arm after its last step. "gradient": the gradient of the penalty at the SFT model.
    """
    if not settings.ablation_games:
        return empty("ablation")
    trained = tables["evaluation"].query("stage == 'sepo' and reported")
    compared = trained["game"].isin(settings.ablation_games) & trained["pools"].isin(settings.ablation_pools)
    compared &= trained["preset"].isin(settings.ablation_presets)
    columns = [*KEYS, "safety", "payoff", "exploit", "collusion", "externality"]
    outcome = trained.loc[compared, columns].assign(kind="outcome")
    return pd.concat([outcome, tables["gradient"].assign(kind="gradient")], ignore_index=True)


def exploiter_table(settings: Settings) -> pd.DataFrame:
    """`exploiters.csv`: exploitability through training against each exploiter (`exploiter_jobs`).

    One row per seed and checkpoint of the finished jobs, and the SFT model as step 0, once per exploiter and
    baseline. Columns: profile, model, exploiter, baseline, stage, seed, step; those of exploitability.csv
    that are measured; `answers`, which training has sampled by then (the decisions of play, and the answers
    that estimate the strategy); and `seconds`, which its steps have taken.
    """
    done = [job for job in recipes.exploiter_jobs(settings) if finished(settings.run, job)]
    trained = collect(settings, done, "exploitability")
    if trained.empty:
        return empty("exploiters")
    begun = collect(settings, recipes.sft_jobs(settings), "exploitability")
    begun = on_own_pools(settings, begun).assign(step=0, answers=0, seconds=0.0)
    columns = list(HEADERS["exploiters"])
    trained = trained.merge(_costs(settings, done), on=columns, how="left")
    starts = [
        begun[begun["seed"].isin(rows["seed"])].assign(exploiter=exploiter, baseline=baseline)
        for (exploiter, baseline), rows in trained.groupby(["exploiter", "baseline"], sort=False)
    ]
    measured = [column for column in trained if column not in (*KEYS, *columns)]
    return pd.concat([*starts, trained], ignore_index=True)[columns + measured]


def _costs(settings: Settings, done: list[Job]) -> pd.DataFrame:
    """The answers and seconds of the exploiter study up to each step, with the columns of HEADERS."""
    log, columns = collect(settings, done, "training"), list(HEADERS["exploiters"])
    if log.empty:
        return pd.DataFrame(columns=[*columns, "answers", "seconds"])
    sets = len(games.get(settings.exploiter_game).information_sets or ())
    read = sets * settings.exploiter_samples / settings.exploiter_refresh
    apart = (log["baseline"] == "group") & (log["exploiter"] != "pool")  # the strategy is sampled beside play
    log = log.assign(answers=log["decisions"] + apart * read, seconds=log["step_time"]).sort_values("step")
    by_run = log.groupby(["exploiter", "baseline", "seed"])[["answers", "seconds"]]
    return log[columns].assign(**by_run.cumsum().round(3))


def reaching(table: pd.DataFrame, limits: Sequence[float] = (0.05, 0.02)) -> pd.DataFrame:
    """What training takes until NashConv is at most each of `limits` (`exploiter_table`).

    One row per exploiter, baseline and limit: seeds, how many of them reached it at a checkpoint, and the
    means over these seeds of step, answers and seconds at the first such checkpoint. A reading counts without
    its bias (`nashconv_bias`). No rows for tables without these columns.
    """
    needed = {"baseline", "answers", "nashconv_bias"}
    trained = table[table["stage"] == "sepo"] if needed <= set(table) else table[:0]
    rows = []
    for kind, group in trained.groupby(["exploiter", "baseline"], sort=False) if len(trained) else ():
        value = group["nashconv"] - group["nashconv_bias"].where(group["nashconv_method"] == "sampled", 0.0)
        for limit in limits:
            first = group[value <= limit].sort_values("step").drop_duplicates("seed")
            known = dict(zip(("exploiter", "baseline"), kind, strict=True))
            known |= {"limit": limit, "seeds": group["seed"].nunique(), "reached": len(first)}
            rows.append(known | first[["step", "answers", "seconds"]].mean().to_dict())
    return pd.DataFrame(rows)


def sweep_table(settings: Settings) -> pd.DataFrame:
    """`sweep.csv`: the policies of the finished `sweep_jobs` and of the main run after their last step.

    One row per game, multiple and seed. Columns: those of `evaluation.csv`, then multiple (of the game's le;
    1 in the main run) and exploit_weight (le as trained).
    """
    done = [job for job in recipes.sweep_jobs(settings) if finished(settings.run, job)]
    if not done:
        return empty("sweep")
    swept = {job.arguments["game"] for job in done}
    main = [
        job
        for job in recipes.sepo_jobs(settings)
        if (job.arguments["preset"], job.arguments["arm"]) == ("unbiased", "credited")
        and job.arguments["game"] in swept
        and not {"exploiter", "train_weights"} & set(job.arguments)
    ]
    own = collect(settings, main, "evaluation").assign(multiple=1.0)
    table = pd.concat([own, collect(settings, done, "evaluation")], ignore_index=True)
    table = table[table["step"] == table.groupby(["game", "multiple", "seed"])["step"].transform("max")]
    le = table["game"].map(lambda game: game_of(settings, game).train_weights.exploit)
    multiple = table.pop("multiple")  # to the end of the columns
    return table.assign(multiple=multiple, exploit_weight=multiple * le).reset_index(drop=True)


def switch_table(settings: Settings) -> pd.DataFrame:
    """`switches.csv`: the published recipe, each of the finished `switch_jobs`, and the unbiased recipe.

    One row per recipe and seed, after the last step in `switch_game`. Columns: those of `evaluation.csv`;
    `preset` is published, published+<switch> or unbiased. If `published+credit` is the same estimator as
    authors_current, its job has copied the results of the main run.
    """
    done = [job for job in recipes.switch_jobs(settings) if finished(settings.run, job)]
    if not done:
        return empty("switches")
    ends = [
        job
        for job in recipes.sepo_jobs(settings)
        if job.arguments["game"] == settings.switch_game
        and job.arguments["preset"] in ("published", "unbiased")
        and job.arguments["arm"] == credit.preset(job.arguments["preset"]).arm
    ]
    table = collect(settings, ends + done, "evaluation")
    return table[table["step"] == settings.of("sepo_steps", settings.switch_game)].reset_index(drop=True)


def _evaluation_tables(settings: Settings) -> list[str]:
    return [name for name in job_tables.TABLES if name != "episodes" or settings.keep_episodes]


# -------------------------------------------------------------------------------- paired differences


def paired_switches(table: pd.DataFrame) -> pd.DataFrame:
    """Safety of every recipe of a `switch_table` minus that of the published one, paired over seeds.

    Columns: preset, seeds, safety (mean), mean, low and high of the difference. A recipe with fewer than two
    seeds is left out.
    """
    rows = [
        {"preset": name, "seeds": len(values_S), "safety": values_S.mean()}
        | statistics.paired(values_S, published_S)._asdict()
        for name, values_S, published_S in _with_other(table, "preset", "published")
    ]
    return pd.DataFrame(rows)


def paired_exploiter(table: pd.DataFrame) -> pd.DataFrame:
    """NashConv after the last step, and minus that of SFT, by exploiter and baseline (`exploiter_table`).

    Columns: exploiter, baseline (`group` in older tables), seeds, step (the last) and answers (until then,
    mean; nan in older tables), nashconv_sft (mean), then mean, low and high over seeds of nashconv (after the
    last step) and of change (paired). One seed alone is left out.
    """
    rows = []
    table = table if "baseline" in table else table.assign(baseline="group")
    for kind, group in table.groupby(["exploiter", "baseline"], sort=False) if len(table) else ():
        last = group[group["step"] == group["step"].max()].set_index("seed")
        first = group[group["stage"] == "sft"].set_index("seed")
        if len(last) > 1:
            after = statistics.interval(last["nashconv"], statistics.bounds("nashconv"))
            difference = statistics.paired(last["nashconv"], first["nashconv"])
            rows.append(
                dict(zip(("exploiter", "baseline"), kind, strict=True))
                | {"seeds": len(last), "step": last["step"].max()}
                | {"answers": last["answers"].mean() if "answers" in last else float("nan")}
                | {"nashconv_sft": first["nashconv"].mean()}
                | {f"nashconv_{end}": value for end, value in after._asdict().items()}
                | {f"change_{end}": value for end, value in difference._asdict().items()}
            )
    return pd.DataFrame(rows)


def paired_arms(ablation: pd.DataFrame) -> pd.DataFrame:
    """Safety of `credited` minus that of each other arm, paired over seeds, by game, pools and preset."""
    rows = []
    group = ["game", "pools", "preset"]
    outcome = ablation[ablation["kind"] == "outcome"] if len(ablation) else ablation
    for keys, compared in outcome.groupby(group, sort=False) if len(outcome) else ():
        for arm, values_S, credited_S in _with_other(compared, "arm", "credited"):
            gain_S = statistics.difference(credited_S, values_S)
            known = dict(zip(group, keys, strict=True)) | {"credited minus": arm, "seeds": len(gain_S)}
            rows.append(known | statistics.interval(gain_S)._asdict())
    return pd.DataFrame(rows)


def _with_other(table: pd.DataFrame, column: str, other: str) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Each value of `column` with several seeds, its safety by seed, and that of the value `other`."""
    groups = table.groupby(column, sort=False) if len(table) else ()
    safety_S = {key: rows.set_index("seed")["safety"] for key, rows in groups}
    other_S = safety_S.pop(other, None)
    if other_S is not None:
        yield from ((key, values_S, other_S) for key, values_S in safety_S.items() if len(values_S) > 1)
