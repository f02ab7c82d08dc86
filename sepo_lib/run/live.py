"""Progress below a notebook cell while jobs run: a line of text and a curve, redrawn every few seconds."""

import os
import time

import matplotlib.pyplot as plt
from IPython.display import HTML, display

from sepo_lib.run.events import Progress
from sepo_lib.run.headless import HEADLESS

_REDRAW_SECONDS = 5.0


class Live:
    """Called by `jobs.run` as watch(progress). Draws the training metric `metric`, one line per job."""

    def __init__(self, metric: str = "objective"):
        self.metric, self.curves, self.drawn = metric, {}, 0.0
        self.shown = None if os.environ.get(HEADLESS) else display(HTML(""), display_id=True)

    def __call__(self, progress: Progress) -> None:
        for job, metrics in progress.metrics.items():
            if self.metric in metrics:
                points = self.curves.setdefault(job, [])
                if not points or points[-1] != metrics[self.metric]:
                    points.append(metrics[self.metric])
        due = time.monotonic() - self.drawn > _REDRAW_SECONDS
        if self.shown is not None and (due or progress.finished):
            self.drawn = time.monotonic()
            self.shown.update(self._picture(progress))

    def _picture(self, progress: Progress):
        left = "" if progress.left is None else f", about {progress.left / 60:.1f} min left"
        text = (
            f"{progress.stage}: {progress.jobs_done} of {progress.jobs_total} jobs, "
            f"step {progress.steps_done} of {progress.steps_total}, {progress.elapsed / 60:.1f} min{left}"
        )
        if progress.note:
            text += f"; {progress.note}"
        if progress.finished or not self.curves:
            return HTML(text)
        figure, ax = plt.subplots(figsize=(7, 3))
        for job, points in self.curves.items():
            ax.plot(points, label=job, linewidth=1)
        ax.set(title=text, xlabel="reports", ylabel=self.metric)
        ax.legend(fontsize=6, ncols=2)
        plt.close(figure)
        return figure
