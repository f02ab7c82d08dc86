"""The file of a game: loaded, edited and loaded again, known to worker processes, refused in one sentence."""

import os
import subprocess
import sys

import pytest

from sepo_lib import games
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.run import game_files, jobs

HAWK = """\
from sepo_lib import games
from sepo_lib.games.ipd import IPD


class Hawk(IPD):
    name = "hawk"
    title = "First"


games.register(Hawk())
"""
HERON = """\
from hawk import Hawk, games


class Heron(Hawk):
    name = "heron"


games.register(Heron())
"""


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """Everything that loading a game changes is as before after each test."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setenv("SEPO_GAMES", "")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = dict(games.GAMES)
    yield
    for module in ("hawk", "heron"):
        sys.modules.pop(module, None)
        game_files._LOADED.pop(module, None)
    games.GAMES.clear()
    games.GAMES.update(known)


def write(folder, name, text=HAWK):
    file = folder / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def refusal(file, kind=InputError):
    """The one sentence with which the file is refused; nothing of it is left."""
    with pytest.raises(kind) as error:
        game_files.load(file)
    sentence = str(error.value)
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence
    assert "hawk" not in games.GAMES and "hawk" not in os.environ["SEPO_GAMES"]
    return sentence


def test_a_loaded_game_is_registered(tmp_path):
    game = game_files.load(write(tmp_path, "hawk"))
    assert games.get("hawk") is game and game.title == "First"
    assert os.environ["SEPO_GAMES"] == "hawk"
    assert str(tmp_path) in os.environ["PYTHONPATH"].split(os.pathsep)


def test_an_edited_file_replaces_the_earlier_version(tmp_path):
    """At once: the new version has the same length and may have the same time stamp."""
    file = write(tmp_path, "hawk")
    first = game_files.load(file)
    assert game_files.load(file) is not first and list(games.GAMES).count("hawk") == 1
    write(tmp_path, "hawk", HAWK.replace("First", "Other"))
    assert game_files.load(file).title == games.get("hawk").title == "Other"


def test_a_game_can_be_given_another_name(tmp_path):
    file = write(tmp_path, "hawk")
    game_files.load(file)
    write(tmp_path, "hawk", HAWK.replace('"hawk"', '"kite"'))
    assert game_files.load(file).name == "kite" and "hawk" not in games.GAMES


def test_a_file_of_the_same_name_in_another_folder_replaces_it_too(tmp_path):
    """Also in processes that find both folders."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, title in zip([*folders, folders[0]], ("First", "Other", "Third"), strict=True):
        game_files.load(write(folder, "hawk", HAWK.replace("First", title)))
        shown = [sys.executable, "-c", "from sepo_lib import games; print(games.get('hawk').title)"]
        assert subprocess.run(shown, capture_output=True, text=True).stdout.strip() == title


def titles(*stages):
    """The title of the game in two worker processes, in each stage of a run."""
    todo = [
        jobs.Job(f"{stage}/{n}", "toy_jobs:title", {"game": "hawk"}, 1) for stage in stages for n in (1, 2)
    ]
    return set(jobs.run(todo, "own", "titles", workers=2).values())


def test_workers_know_the_game_and_its_new_version(tmp_path, capsys):
    """Workers wait for the next stage with the version that they have imported."""
    file = write(tmp_path, "hawk")
    game_files.load(file)
    assert titles("a") == {"First"}
    write(tmp_path, "hawk", HAWK.replace("First", "Other"))
    game_files.load(file)
    assert titles("a", "b") == {"Other"}  # the finished jobs of stage a have run again
    assert "skipped" not in capsys.readouterr().out
    assert titles("a", "b") == {"Other"}
    assert "4 of 4 jobs of titles were finished before" in capsys.readouterr().out


def test_a_file_that_was_edited_and_not_loaded_again_stops_its_jobs(tmp_path):
    game_files.load(write(tmp_path, "hawk"))
    write(tmp_path, "hawk", HAWK.replace("First", "Other"))
    with pytest.raises(InputError, match=r"^hawk.py has changed since it was loaded; load it again\.$"):
        titles("a")
    jobs.Job("other", "toy_jobs:title", {"game": "ipd"}, 1).fingerprint  # noqa: B018 (does not raise)


def test_a_game_depends_on_the_modules_beside_its_file(tmp_path):
    (tmp_path / "birds.py").write_text("NAME = 'First'\n")
    file = write(
        tmp_path,
        "hawk",
        "import birds\n" + HAWK.replace("'First'", "birds.NAME").replace('"First"', "birds.NAME"),
    )
    job = jobs.Job("one", "toy_jobs:title", {"game": "hawk"}, 1)
    assert game_files.load(file).title == "First"
    before = job.work
    (tmp_path / "birds.py").write_text("NAME = 'Other'\n")
    with pytest.raises(
        InputError, match=r"^birds.py has changed since hawk.py was loaded; load hawk.py again"
    ):
        job.work  # noqa: B018
    assert game_files.load(file).title == "Other" and job.work != before


def test_a_game_that_inherits_depends_on_both_files(tmp_path):
    file, heir = write(tmp_path, "hawk"), write(tmp_path, "heron", HERON)
    game_files.load(file)
    game_files.load(heir)
    job = jobs.Job("one", "toy_jobs:title", {"game": "heron"}, 1)
    before = job.fingerprint
    write(tmp_path, "hawk", HAWK.replace("First", "Other"))
    game_files.load(file)
    assert "heron" not in games.GAMES  # it inherits from the earlier version
    assert game_files.load(heir).title == "Other" and job.fingerprint != before
    assert os.environ["SEPO_GAMES"] == "hawk,heron"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("class Hawk(IPD):", "class Hawk(IPD)", "hawk.py stops in line 5 with SyntaxError: expected ':'"),
        ("IPD):", "Bird):", "hawk.py stops in line 5 with NameError: name 'Bird' is not defined"),
        ("ipd import", "bird import", "hawk.py stops in line 2 with ModuleNotFoundError"),
        ('title = "First"', "title = ''", "The game 'hawk' has a wrong `title`; it must be a title"),
        ('name = "hawk"', "pass", "There is a game called 'ipd' already"),
        ("games.register(Hawk())", "", "hawk.py registers no game"),
        ("games.register(Hawk())", "games.register(Hawk())\n1 / 0", "line 11 with ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_a_faulty_file_is_refused_in_one_sentence(tmp_path, old, new, reason, again):
    if again:
        game_files.load(write(tmp_path, "hawk"))
    assert old in HAWK
    assert reason in refusal(write(tmp_path, "hawk", HAWK.replace(old, new)))
    assert game_files.load(write(tmp_path, "hawk")).title == "First"


def test_a_file_with_two_games_is_refused(tmp_path):
    second = 'class Kite(Hawk):\n    name = "kite"\n\n\ngames.register(Kite())\n'
    assert "registers 2 games (hawk, kite)" in refusal(write(tmp_path, "hawk", HAWK + second))
    assert "kite" not in games.GAMES


def test_the_name_of_the_file_must_be_free_and_importable(tmp_path):
    assert "module called 'random' already" in refusal(write(tmp_path, "random"))
    assert "cannot be called 'my-hawk.py'" in refusal(write(tmp_path, "my-hawk"))
    assert "There is no file hawk.py" in refusal(tmp_path / "hawk.py", MissingError)
