"""What a person sees below a notebook cell while jobs run."""

import base64
import re

import pytest

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.run import events, headless, live
from sepo_lib.run.job import Job


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, what):
        self.shown.append(what.data)


@pytest.fixture
def handles(monkeypatch):
    """The handles of the text and of the picture."""
    made = []

    def display(*args, **kwargs):
        made.append(Handle())
        return made[-1]

    monkeypatch.delenv(headless.HEADLESS, raising=False)
    monkeypatch.setattr(live, "display", display)
    monkeypatch.setattr(live, "_REDRAW_SECONDS", -1.0)
    return made


def sepo_job(game, preset="unbiased", seed=11, steps=40, **changed):
    arm = changed.get("arm", figures.OWN_ARM[preset])
    labels = {"stage": "sepo", "preset": preset, "arm": arm, "seed": seed, **changed}
    arguments = {"game": game, "pools": "paper", "labels": labels}
    return Job(f"sepo/{game}-paper/{preset}-{arm}{len(changed)}/seed-{seed}", "x:y", arguments, steps)


def progress(curves, **changed):
    """The progress of a stage whose jobs have reported `curves`: pairs of (job, {step: objective})."""
    found = events.Progress("SEPO", 0, len(curves), 4, 10, 30.0, 60.0)
    found.jobs = {job.name: job for job, _ in curves}
    found.curves = {
        job.name: {step: {"objective": value} for step, value in values.items()} for job, values in curves
    }
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def test_every_game_has_a_panel_and_every_seed_a_line_in_the_colour_of_its_recipe():
    curves = [
        (sepo_job("kuhn"), {1: 0.5}),  # one point, which must be visible
        (sepo_job("kuhn", seed=12), {1: 0.25, 5: 0.5}),
        (sepo_job("kuhn", "published"), {3: 0.125, 1: 0.75}),
        (sepo_job("deal", steps=80), {}),
    ]
    figure = live.draw(progress(curves), "objective")
    kuhn, deal = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["Kuhn poker", "Multi-issue bargaining"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["training step"] * 2
    drawn = [(line.get_color(), list(line.get_xdata()), list(line.get_ydata())) for line in kuhn.lines]
    unbiased, published = (figures.CONFIGURATIONS[preset].colour for preset in ("unbiased", "published"))
    assert drawn == [
        (unbiased, [1], [0.5]),
        (unbiased, [1, 5], [0.25, 0.5]),
        (published, [1, 3], [0.75, 0.125]),
    ]
    assert all(line.get_marker() not in (None, "None", "") for line in kuhn.lines)
    assert kuhn.get_xlim()[1] >= 40 and deal.get_xlim()[1] >= 80 and not deal.lines
    assert figure.get_supylabel().startswith("objective J")


def test_the_legend_covers_nothing_and_names_every_recipe_once():
    games = ["ipd", "auction", "split", "deal", "kuhn"]
    curves = [(sepo_job(game, seed=s), {1: 0.5, 2: 1.0}) for game in games for s in (11, 12)]
    curves += [(sepo_job(game, "published"), {2: 0.5}) for game in games]
    figure = live.draw(progress(curves), "objective")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["SEPO, published", "SEPO, unbiased"]
    below = legend.get_window_extent().y1
    assert all(ax.get_tightbbox().y0 >= below for ax in figure.axes if ax.lines)


@pytest.mark.parametrize(
    ("jobs", "labels"),
    [
        ([sepo_job("kuhn", arm="constant"), sepo_job("kuhn", "published", arm="constant")], None),
        (
            [sepo_job("kuhn", exploiter="pool"), sepo_job("kuhn", exploiter="best_response", seed=2)],
            ["the fixed pool", "best response and train pool"],
        ),
        (
            [sepo_job("kuhn", multiple=2.0), sepo_job("kuhn", multiple=0.5, seed=2)],
            ["weight of e times 2", "weight of e times 0.5"],
        ),
        ([Job("sft/seed-1", "x:y", {"labels": {"stage": "sft"}}, 9)], ["SFT"]),
    ],
)
def test_the_legend_names_that_in_which_the_jobs_differ(jobs, labels):
    figure = live.draw(progress([(job, {1: 0.5}) for job in jobs]), "objective")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == len(jobs)
    assert sorted(names) == sorted(labels or ["constant, unbiased", "constant, published"])


def test_the_text_moves_and_the_picture_stays_at_the_end(handles):
    watch = live.Live()
    text, picture = handles
    job = sepo_job("kuhn")
    watch(progress([(job, {})], doing={job.name: "loading the model"}))
    assert f"{job.name}: loading the model" in text.shown[-1] and "1:00 left" in text.shown[-1]
    assert 'value="4" max="10"' in text.shown[-1] and not picture.shown
    watch(progress([(job, {1: 0.5})], metrics={job.name: {"parse_rate": 0.62}}))
    assert "; parse rate 0.62: " in text.shown[-1] and len(picture.shown) == 1
    watch(progress([(job, {1: 0.5, 2: 0.75})], finished=True, jobs_done=1, elapsed=372.0))
    assert text.shown[-1] == "<b>SEPO: done in 6:12, 1 of 1 jobs finished</b>"
    assert 'alt="objective J by training step' in picture.shown[-1]
    assert "Kuhn poker: SEPO, unbiased 0.75." in picture.shown[-1]
    assert len(picture.shown[-1]) < 60_000
    (data,) = re.findall(r"base64,([^\"]+)", picture.shown[-1])
    assert base64.b64decode(data).startswith(b"\x89PNG")
    watch(progress([(job, {})], finished=True, elapsed=42.0))
    assert text.shown[-1] == "<b>SEPO: stopped after 0:42, 0 of 1 jobs finished</b>"


def test_drawing_takes_a_small_part_of_the_time(handles, monkeypatch):
    monkeypatch.setattr(live, "_REDRAW_SECONDS", 3600.0)
    watch = live.Live()
    for step in range(1, 4):
        watch(progress([(sepo_job("kuhn"), {step: 0.5})]))
    text, picture = handles
    assert (len(text.shown), len(picture.shown)) == (3, 1)
    watch(progress([(sepo_job("kuhn"), {4: 0.5})], finished=True))  # interrupted: no time for a picture
    assert len(picture.shown) == 1
    watch(progress([(sepo_job("kuhn"), {4: 0.5})], finished=True, jobs_done=1))
    assert len(picture.shown) == 2


def test_nothing_is_drawn_where_nobody_looks(handles, monkeypatch):
    monkeypatch.setenv(headless.HEADLESS, "1")
    live.Live()(progress([(sepo_job("kuhn"), {1: 0.5})]))
    assert handles == []


def test_the_curves_have_the_steps_of_the_reports(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    follower = events.Follower("smoke")
    about = {"stage": "SEPO", "job": "a", "steps": 9}
    events.log_event("smoke", "stage_start", stage="SEPO", jobs=1, steps=9, jobs_left=1, steps_left=9)
    for step in (3, 7):
        events.log_event("smoke", "step", **about, step=step, metrics={"loss": 1 / step})
    assert paths.events("smoke").exists()
    assert follower.read().curves == {"a": {3: {"loss": 1 / 3}, 7: {"loss": 1 / 7}}}
    assert follower.read().doing == {"a": "step 8 of 9"}
