"""`behaviour.csv`: what the policies of the main run do in each situation, and the strategies like them."""

import pandas as pd

from sepo_lib.config import files, paths
from sepo_lib.config.profiles import Settings
from sepo_lib.measure import behaviour, job_tables
from sepo_lib.run import recipes, results
from sepo_lib.run.job import finished

UNUSED = ("prompt", "answer")  # columns that are most of the file of a job's episodes


def of_main_run(settings: Settings) -> pd.DataFrame:
    """The table of base, SFT and every preset that the main run trains, each game on its own pools.

    It is made from the episodes in the folders of the finished jobs, also where the run keeps no table of
    episodes; of a trained model the last step counts. A policy whose episodes cannot be played again, because
    older code with other rules or opponents has recorded them, is left out with a printed sentence.
    """
    jobs = [*recipes.base_jobs(settings), *recipes.sft_jobs(settings), *recipes.sepo_jobs(settings)]
    folders = [paths.job(settings.run, job.name) for job in jobs if finished(settings.run, job)]
    tables = []
    for game in settings.games:
        label = f"episodes-{game}-{settings.of('pools', game)}"
        for folder in folders:
            for file in sorted(folder.glob(f"{label}-*.parquet"))[-1:]:
                decisions = files.read_parquet(file, job_tables.JOB_AGAIN).drop(columns=list(UNUSED))
                try:
                    tables.append(behaviour.table(decisions))
                except ValueError as error:
                    print(f"behaviour.csv lacks {paths.relative(file)}. {error}")
    return pd.concat(tables, ignore_index=True) if tables else results.empty("behaviour")
