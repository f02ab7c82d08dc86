"""Progress below a notebook cell while jobs run: what they do now, and the curves of their training.

The text changes every second, the curves every few seconds. Both stay when the jobs have ended.
"""

import html
import os
import time
from collections.abc import Mapping

from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sepo_lib import figures
from sepo_lib.figures.looks import axis_label, looks_of, quantity
from sepo_lib.figures.shown import as_html
from sepo_lib.run.events import Progress
from sepo_lib.run.headless import HEADLESS, clock
from sepo_lib.run.job import Job

_REDRAW_SECONDS = 4.0
_LISTED = 6  # jobs under way that the text lists
_IN_A_ROW = 3  # panels
#: First part of a job's name -> title of its panel, for jobs of several games.
_KINDS = {"sft": "SFT on all games", "base": "base model", "pretrain": "pre-training of nano"}
_NOT_TRAINED = ("base/", "transfer/")  # jobs that only evaluate


class Live:
    """Called by `jobs.run` as watch(progress). Draws the training metric `metric`, one thin line per job."""

    def __init__(self, metric: str = "objective"):
        self.metric, self.due = metric, 0.0
        headless = bool(os.environ.get(HEADLESS))
        self.text, self.picture = (
            None if headless else display(HTML(""), display_id=True) for _ in ("text", "picture")
        )

    def __call__(self, progress: Progress) -> None:
        if self.text is None:
            return
        self.text.update(HTML(_as_html(progress)))
        begun = time.monotonic()
        done = progress.finished and progress.jobs_done == progress.jobs_total  # an interrupt draws nothing
        figure = draw(progress, self.metric) if done or begun >= self.due else None
        if figure is not None:
            self.picture.update(HTML(as_html(figure, described(progress, self.metric))))
            cost = time.monotonic() - begun
            self.due = begun + max(_REDRAW_SECONDS, 10 * cost)  # drawing takes a tenth of the time at most


def draw(progress: Progress, metric: str) -> Figure | None:
    """`metric` by training step: a panel a game, a colour a recipe, a line a job. None without points.

    Jobs that train nothing have no panel. Other panels without points are left out at the end.
    """
    points = _points(progress, metric)
    if not points:
        return None
    panels, looks = _panels(progress.jobs), _looks(progress.jobs)
    drawn = [
        name for name in panels if not (progress.finished or name.startswith(_NOT_TRAINED)) or name in points
    ]
    titles = list(dict.fromkeys(panels[name] for name in drawn))
    columns = min(len(titles), _IN_A_ROW)
    rows = -(-len(titles) // columns)
    with figures.style():
        figure = Figure(figsize=(max(3.4, 2.35 * columns), 1.75 * rows + 0.35), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for title, ax in zip(titles, axes, strict=False):
            names = [name for name, panel in panels.items() if panel == title]
            for name in (name for name in names if name in points):
                _curve(ax, points[name], looks[name])
            ax.set(title=title, xlim=(0, 1.03 * max(progress.jobs[name].steps for name in names)))
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
            ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            ax.spines[["top", "right"]].set_visible(False)
        for ax in axes[len(titles) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(titles) - columns) : len(titles)]:
            ax.set_xlabel("training step")
        figure.supylabel(axis_label(metric), fontsize=8)
        shown = {look.label: look for name, look in looks.items() if name in points}
        handles = [figures.handle(look, "-") for look in shown.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))
    return figure


def described(progress: Progress, metric: str) -> str:
    """The curves in words, for readers who do not see them: the latest values, as means over the seeds."""
    panels, looks = _panels(progress.jobs), _looks(progress.jobs)
    latest: dict[str, dict[str, list[float]]] = {}
    for name, values in _points(progress, metric).items():
        of = latest.setdefault(panels[name].replace("\n", ", "), {})
        of.setdefault(looks[name].label, []).append(values[max(values)])
    means = {panel: {label: sum(v) / len(v) for label, v in of.items()} for panel, of in latest.items()}
    said = (
        f" {panel}: {'; '.join(f'{label} {mean:.3g}' for label, mean in of.items())}."
        for panel, of in means.items()
    )
    return (
        f"{quantity(metric)} by training step, with the latest values as means over the seeds.{''.join(said)}"
    )


def summary(progress: Progress) -> str:
    """How far the stage is, in one line."""
    counted = f"{progress.jobs_done} of {progress.jobs_total} jobs"
    if progress.finished:
        verb = "done in" if progress.jobs_done == progress.jobs_total else "stopped after"
        said = f"{progress.stage}: {verb} {clock(progress.elapsed)}, {counted} finished"
    else:
        left = "" if progress.left is None else f", about {clock(progress.left)} left"
        said = (
            f"{progress.stage}: {counted} finished, step {progress.steps_done} of {progress.steps_total}, "
            f"{clock(progress.elapsed)} so far{left}"
        )
    return "; ".join(filter(None, (said, progress.note)))


def _as_html(progress: Progress) -> str:
    """The summary, a bar, and what each job does."""
    lines = [f"<b>{html.escape(summary(progress))}</b>"]
    if not progress.finished:
        done = f'value="{progress.steps_done}" max="{max(progress.steps_total, 1)}"'
        lines.append(f'<progress aria-label="steps" style="width: 100%" {done}></progress>')
        lines += [html.escape(f"{job}: {what}") for job, what in list(progress.doing.items())[:_LISTED]]
        if len(progress.doing) > _LISTED:
            lines.append(f"and {len(progress.doing) - _LISTED} more jobs")
        if not progress.doing:
            lines.append("starting")
    return "<br>".join(lines)


def _points(progress: Progress, metric: str) -> dict[str, dict[int, float]]:
    """Job -> step -> `metric`, of the jobs that have reported it."""
    found = {
        name: {step: metrics[metric] for step, metrics in curve.items() if metric in metrics}
        for name, curve in progress.curves.items()
        if name in progress.jobs
    }
    return {name: values for name, values in found.items() if values}


def _curve(ax: Axes, values: Mapping[int, float], look: figures.Look) -> None:
    steps = sorted(values)
    ax.plot(
        steps,
        [values[step] for step in steps],
        color=look.colour,
        linewidth=0.8,
        marker=look.marker,
        markersize=3,
        markeredgewidth=0.7,
        markerfacecolor=look.face,
        markevery=max(1, len(steps) // 20),
        label=look.label,
    )


def _panels(jobs: Mapping[str, Job]) -> dict[str, str]:
    """Job -> title of its panel: its game, with the pool set if the stage has several; else its kind."""
    several = len({job.arguments.get("pools") for job in jobs.values()}) > 1
    found = {}
    for name, job in jobs.items():
        game, kind = job.arguments.get("game"), name.split("/")[0]
        game = "SEPO on all games" if job.arguments.get("also") else game
        pools = f"\n{job.arguments['pools']} pools" if game and several else ""
        found[name] = figures.title_of(game) + pools if game else _KINDS.get(kind, kind)
    return found


def _looks(jobs: Mapping[str, Job]) -> dict[str, figures.Look]:
    """Job -> its look, in the order of the legend. Jobs of a panel differ in the exploiter, in a
    weight of J, in the arm or in the preset."""
    labels = {name: job.arguments.get("labels", {}) for name, job in jobs.items()}
    arms = any(figures.OWN_ARM.get(of.get("preset")) not in (None, of.get("arm")) for of in labels.values())
    exploiters: dict[str, set] = {}
    for name, panel in _panels(jobs).items():
        exploiters.setdefault(panel, set()).add(labels[name].get("exploiter", "pool"))
    known = dict(figures.CONFIGURATIONS)
    keys = {}
    for name, panel in _panels(jobs).items():
        of = labels[name]
        key = of.get("preset") or of.get("stage") or name.split("/")[0]
        if len(exploiters[panel]) > 1:
            key = of.get("exploiter", "pool")
            known[key] = figures.EXPLOITERS[key]
        elif "multiple" in of:
            key = f"weight of e times {of['multiple']:g}"
        elif of.get("preset") and arms:
            key = f"{of['arm']}, {key}"
            known[key] = figures.run_look(of["arm"], of["preset"])
        keys[name] = key
    looks = looks_of(keys.values(), known=known)
    return {name: look for key, look in looks.items() for name in keys if keys[name] == key}
