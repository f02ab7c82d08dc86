"""What a person sees below a notebook cell while jobs run."""

import pytest
from matplotlib.figure import Figure

from sepo_lib.run import events, headless, live


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, what):
        self.shown.append(what)


@pytest.fixture
def handle(monkeypatch):
    handle = Handle()
    monkeypatch.delenv(headless.HEADLESS, raising=False)
    monkeypatch.setattr(live, "display", lambda *args, **kwargs: handle)
    monkeypatch.setattr(live, "_REDRAW_SECONDS", -1.0)
    return handle


def progress(step, value, finished=False):
    return events.Progress("SEPO", 0, 1, step, 10, 30.0, 60.0, {"a": {"objective": value}}, finished)


def test_the_curve_grows_and_ends_as_a_line_of_text(handle):
    watch = live.Live()
    for step, value in enumerate([0.5, 0.75, 0.75, 1.0], start=1):
        watch(progress(step, value))
    assert isinstance(handle.shown[-1], Figure)
    axes = handle.shown[-1].axes[0]
    assert list(axes.lines[0].get_ydata()) == [0.5, 0.75, 1.0]
    assert "step 4 of 10" in axes.get_title() and "1.0 min left" in axes.get_title()
    low = progress(5, 1.25)
    low.metrics["a"]["parse_rate"] = 0.62
    watch(low)
    assert "min left; parse rate 0.62: " in handle.shown[-1].axes[0].get_title()
    watch(progress(10, 1.5, finished=True))
    assert "0 of 1 jobs, step 10 of 10" in handle.shown[-1].data


def test_nothing_is_drawn_where_nobody_looks(handle, monkeypatch):
    monkeypatch.setenv(headless.HEADLESS, "1")
    live.Live()(progress(1, 0.5))
    assert handle.shown == []
