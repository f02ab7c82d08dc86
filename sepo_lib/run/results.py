"""The tables of a run, made of what its finished jobs left, and differences paired over seeds."""

import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.config.profiles import Settings
from sepo_lib.measure import evaluation, statistics
from sepo_lib.method import credit
from sepo_lib.run import recipes
from sepo_lib.run.jobs import Job, finished

#: The columns of a table that its run has no rows for; of any other table `evaluation.KEYS`.
HEADERS = {
    "ablation": (*evaluation.KEYS, "kind"),
    "exploiters": ("profile", "model", "exploiter", "stage", "seed", "step"),
    "sweep": (*evaluation.KEYS, "multiple", "exploit_weight"),
}


def empty(name: str) -> pd.DataFrame:
    """Table `name` without rows: the columns that identify one, so that every reader can read the file."""
    return pd.DataFrame(columns=list(HEADERS.get(name, evaluation.KEYS)))


def collect(settings: Settings, jobs: list[Job], name: str) -> pd.DataFrame:
    """All rows of table `name` that the `jobs` left; a job that is named twice counts once."""
    folders = dict.fromkeys(paths.job(settings.profile, job.name) for job in jobs)
    return evaluation.collect(list(folders), name)


def collect_tables(settings: Settings, jobs: list[Job]) -> dict[str, pd.DataFrame]:
    """The tables that the finished `jobs` add up to: evaluation, episodes (with `keep_episodes`), training,
    sft, gradient, and exploitability and strategies where Kuhn was played."""
    names = (*_evaluation_tables(settings), "training", "sft", "gradient")
    tables = {name: collect(settings, jobs, name) for name in names}
    tables["evaluation"] = evaluation.mark_reported(tables["evaluation"])
    reported = tables["evaluation"].query("reported")[list(evaluation.KEYS)].assign(reported=True)
    for name in ("exploitability", "strategies"):
        if len(tables[name]):
            tables[name] = tables[name].merge(reported, how="left", on=list(evaluation.KEYS))
            tables[name]["reported"] = tables[name]["reported"].eq(True)
    return {name: table for name, table in tables.items() if len(table)}


def write_studies(settings: Settings, jobs: list[Job]) -> dict[str, pd.DataFrame]:
    """Write `estimators.csv` and `headroom.csv` from the finished `study_jobs`, and return both."""
    tables = {name: collect(settings, jobs, name) for name in ("estimators", "headroom")}
    for name, table in tables.items():
        paths.write_table(table if len(table) else empty(name), settings.profile, name)
    return tables


def on_own_pools(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that were played on the pool set that the run trains that game on."""
    return table[table["pools"] == table["game"].map(lambda game: settings.of("pools", game))]


def of_main_run(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the main run: base, SFT and what `recipes.sepo_jobs` trains, each game on its own pools.

    The rest of a table is the ablation's: other pools, and other arms.
    """
    reported_recipes = {
        (job.arguments["preset"], job.arguments["arm"]) for job in recipes.sepo_jobs(settings)
    }
    table = on_own_pools(settings, table)
    rows = zip(table["stage"], table["preset"], table["arm"], strict=True)
    return table[[stage != "sepo" or (preset, arm) in reported_recipes for stage, preset, arm in rows]]


def _evaluation_tables(settings: Settings) -> list[str]:
    return [name for name in evaluation.TABLES if name != "episodes" or settings.keep_episodes]


def write_tables(settings: Settings) -> dict[str, pd.DataFrame]:
    """Write the tables that more than one notebook adds to, and return them (`collect_tables`).

    They hold what all finished jobs of the run left, in the order of the job lists below, whichever notebook
    calls: no notebook drops the rows of another. A table that the run has no rows for (Kuhn's, say) is
    written with its header.
    """
    lists = (
        *(recipes.base_jobs, recipes.sft_jobs, recipes.sepo_jobs),
        *(recipes.gradient_jobs, recipes.ablation_jobs),
    )
    done = [job for jobs in lists for job in jobs(settings) if finished(settings.profile, job)]
    tables = collect_tables(settings, done)
    for name in (*_evaluation_tables(settings), "training", "sft"):
        paths.write_table(tables.get(name, empty(name)), settings.profile, name)
    return tables


def ablation_table(settings: Settings, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """`ablation.csv`: rows of kind "outcome" (a trained arm, last step) and "gradient" (the penalty's
    gradient on one batch of the SFT model); without rows where the run has no ablation."""
    if not settings.ablation_games:
        return empty("ablation")
    trained = tables["evaluation"].query("stage == 'sepo' and reported")
    compared = trained["game"].isin(settings.ablation_games) & trained["pools"].isin(settings.ablation_pools)
    compared &= trained["preset"].isin(settings.ablation_presets)
    columns = [*evaluation.KEYS, "safety", "payoff", "exploit", "collusion", "externality"]
    outcome = trained.loc[compared, columns].assign(kind="outcome")
    return pd.concat([outcome, tables["gradient"].assign(kind="gradient")], ignore_index=True)


def exploiter_table(settings: Settings) -> pd.DataFrame:
    """Kuhn's exploitability through training against each exploiter: the rows of SFT (step 0, once per
    exploiter) and of every checkpoint of the finished `exploiter_jobs`.

    Columns: profile, model, exploiter, stage, seed, step, pool_advantage, nashconv, nashconv_low,
    nashconv_high, nashconv_constrained, exploitability; without rows where no job has finished.
    """
    done = [job for job in recipes.exploiter_jobs(settings) if finished(settings.profile, job)]
    trained = collect(settings, done, "exploitability")
    if trained.empty:
        return empty("exploiters")
    trained = trained.assign(exploiter=trained["pools"].str.removeprefix("exploiter:"))
    begun = on_own_pools(settings, collect(settings, recipes.sft_jobs(settings), "exploitability")).assign(
        step=0
    )
    starts = [
        begun[begun["seed"].isin(rows["seed"])].assign(exploiter=exploiter)
        for exploiter, rows in trained.groupby("exploiter", sort=False)
    ]
    measured = [column for column in trained if column not in (*evaluation.KEYS, "exploiter")]
    columns = ["profile", "model", "exploiter", "stage", "seed", "step", *measured]
    return pd.concat([*starts, trained], ignore_index=True)[columns]


def sweep_table(settings: Settings) -> pd.DataFrame:
    """What the retrained policies of the finished `sweep_jobs` do after their last step, one row a seed, and
    those of the main run (multiple 1).

    Columns: those of `evaluation.csv`, multiple (of the game's own le) and exploit_weight (le as trained);
    without rows where no job has finished.
    """
    done = [job for job in recipes.sweep_jobs(settings) if finished(settings.profile, job)]
    if not done:
        return empty("sweep")
    swept = {job.arguments["game"] for job in done}
    own = [
        job
        for job in recipes.sepo_jobs(settings)
        if (job.arguments["preset"], job.arguments["arm"]) == ("unbiased", "credited")
        and job.arguments["game"] in swept
        and not {"exploiter", "weights"} & set(job.arguments)
    ]
    table = pd.concat(
        [collect(settings, own, "evaluation").assign(pools="sweep:1"), collect(settings, done, "evaluation")],
        ignore_index=True,
    )
    table = table[table["step"] == table.groupby(["game", "pools", "seed"])["step"].transform("max")]
    multiple = table["pools"].str.removeprefix("sweep:").astype(float)
    own = table["game"].map(lambda game: games.get(game).train_weights.exploit)
    return table.assign(multiple=multiple, exploit_weight=multiple * own).reset_index(drop=True)


def switch_table(settings: Settings) -> pd.DataFrame:
    """What the published recipe, each of the finished `switch_jobs` and the unbiased recipe do after their
    last step in the prisoner's dilemma, one row a seed; without rows where no job has finished. There
    `published+credit` is the preset authors_current, whose run is copied where the main run has it.

    Columns: those of `evaluation.csv`; `preset` is published, published+<switch> or unbiased.
    """
    done = [job for job in recipes.switch_jobs(settings) if finished(settings.profile, job)]
    if not done:
        return empty("switches")
    ends = [
        job
        for job in recipes.sepo_jobs(settings)
        if job.arguments["game"] == recipes.SWITCH_GAME
        and job.arguments["preset"] in ("published", "unbiased")
        and job.arguments["arm"] == credit.preset(job.arguments["preset"]).arm
    ]
    table = collect(settings, ends + done, "evaluation")
    return table[table["step"] == settings.of("sepo_steps", recipes.SWITCH_GAME)].reset_index(drop=True)


def paired_switches(table: pd.DataFrame) -> pd.DataFrame:
    """Safety of every recipe of a `switch_table` minus that of the published one, paired over seeds.

    Columns: preset, seeds, safety (mean), mean, low and high of the difference. A recipe with fewer than two
    seeds is left out.
    """
    rows = []
    reported_recipes = (
        {name: _by_seed(mine) for name, mine in table.groupby("preset", sort=False)} if len(table) else {}
    )
    for name, mine in reported_recipes.items():
        if name != "published" and "published" in reported_recipes and len(mine) > 1:
            difference = statistics.paired(mine, reported_recipes["published"])
            rows.append({"preset": name, "seeds": len(mine), "safety": mine.mean()} | difference._asdict())
    return pd.DataFrame(rows)


def paired_exploiter(table: pd.DataFrame) -> pd.DataFrame:
    """NashConv after the last step, and minus that of SFT, by exploiter (`exploiter_table`).

    Columns: exploiter, seeds, nashconv_sft (mean), then mean, low and high over seeds of nashconv (the last
    step's) and of change (paired). An exploiter with one seed is left out.
    """
    rows = []
    for exploiter, group in table.groupby("exploiter", sort=False) if len(table) else ():
        last = group[group["step"] == group["step"].max()].set_index("seed")
        first = group[group["stage"] == "sft"].set_index("seed")
        if len(last) > 1:
            after = statistics.interval(last["nashconv"], statistics.bounds("nashconv"))
            difference = statistics.paired(last["nashconv"], first["nashconv"])
            rows.append(
                {"exploiter": exploiter, "seeds": len(last), "nashconv_sft": first["nashconv"].mean()}
                | {f"nashconv_{end}": value for end, value in after._asdict().items()}
                | {f"change_{end}": value for end, value in difference._asdict().items()}
            )
    return pd.DataFrame(rows)


def paired_safety(reported: pd.DataFrame) -> pd.DataFrame:
    """Safety of each SEPO recipe minus that of base and SFT, paired over seeds, by game (reported rows)."""
    rows = []
    for (game, pools, preset, arm), mine in reported[reported.stage == "sepo"].groupby(
        ["game", "pools", "preset", "arm"], sort=False
    ):
        for stage in ("base", "sft"):
            other = reported.query("game == @game and pools == @pools and stage == @stage")
            if len(mine) > 1:
                difference = statistics.paired(_by_seed(mine), _by_seed(other))
                rows.append(
                    {"game": game, "pools": pools, "preset": preset, "arm": arm, "minus": stage}
                    | difference._asdict()
                )
    return pd.DataFrame(rows)


def paired_arms(ablation: pd.DataFrame) -> pd.DataFrame:
    """Safety of `credited` minus that of each other arm, paired over seeds, by game, pools and preset."""
    rows = []
    outcome = (
        ablation[ablation.kind == "outcome"]
        if len(ablation)
        else ablation.assign(game=[], pools=[], preset=[])
    )
    for (game, pools, preset), group in outcome.groupby(["game", "pools", "preset"], sort=False):
        arms = {arm: _by_seed(mine) for arm, mine in group.groupby("arm", sort=False)}
        for arm in arms:
            if arm != "credited" and "credited" in arms and len(arms[arm]) > 1:
                difference = statistics.paired(arms["credited"], arms[arm])
                rows.append(
                    {"game": game, "pools": pools, "preset": preset, "credited minus": arm}
                    | difference._asdict()
                )
    return pd.DataFrame(rows)


def _by_seed(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index("seed")["safety"]
