"""What the sections of a notebook run, and how long it takes."""

from collections.abc import Mapping, Sequence

from sepo_lib.config import paths
from sepo_lib.config.profiles import Settings
from sepo_lib.run import executors, provenance
from sepo_lib.run.job import Job, finished


def sections(settings: Settings, jobs: Mapping[str, Sequence[Job]]) -> list[dict[str, object]]:
    """One row per section: its name, the number of its `jobs`, how many are finished, and their minutes.

    The minutes are those of an earlier run of all jobs of the section, `runs/<run>` or else the run of the
    profile, if as many run at the same time as here. They are not known if its manifest lacks a job, and on
    the workers of a Dask cluster.
    """
    runs = [run for run in (settings.run, settings.profile) if paths.manifest(run).exists()]
    took = provenance.seconds_of_jobs(provenance.read(runs[0])) if runs else {}
    return [
        {
            "section": section,
            "jobs": len(own),
            "finished": sum(finished(settings.run, job) for job in own),
            "minutes in all": _minutes(
                [took.get(job.name) for job in own], executors.at_once(len(own), settings.workers)
            ),
        }
        for section, own in jobs.items()
    ]


def _minutes(seconds: Sequence[float | None], at_once: int | None) -> str:
    if not seconds:
        return ""
    if at_once is None or None in seconds:
        return "not known"
    minutes = sum(seconds) / at_once / 60
    return f"{minutes:.1f}" if minutes >= 0.1 else "below 0.1"
