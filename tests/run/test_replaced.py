"""What a command writes over is kept, unless git holds it; and what git ignores and `make clean` removes."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from sepo_lib import __main__ as cli
from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.run import clean, demonstration_files, lock, provenance, recipes, replaced

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    return tmp_path


def git(*arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(paths.root()), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def kept(run):
    """Path -> text of what is kept of a run, over all times."""
    folders = paths.run(run).glob("replaced/*")
    return {
        file.relative_to(folder).as_posix(): file.read_text()
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_what_is_written_over_or_removed_is_kept_and_what_stays_is_not(root, capsys):
    files = [write(paths.figures("a") / f"{name}.png", name) for name in ("changed", "same", "gone")]
    with replaced.keeping(paths.run("a"), [paths.figures("a"), root / "README.md"]):
        write(files[0], "new")
        dropped = replaced.drop(paths.figures("a"), files[:2])
    assert dropped == files[2:] and not files[2].exists()
    assert kept("a") == {"figures/a/changed.png": "changed", "figures/a/gone.png": "gone"}
    where = paths.relative(next(paths.run("a").glob("replaced/*")))
    assert capsys.readouterr().out == (
        "Removed from figures/a/, because the run no longer makes them: gone.png.\n"
        f"2 earlier files are in {where}/.\n"
    )
    with replaced.keeping(paths.run("b"), [paths.figures("a")]):
        pass
    assert not (paths.run("b") / "replaced").exists() and not capsys.readouterr().out


def test_a_command_that_is_killed_or_fails_has_lost_nothing():
    table = write(paths.table("a", "claims"), "earlier")
    with pytest.raises(RuntimeError), replaced.keeping(paths.run("a"), [table]):
        assert kept("a") == {"data/results/a/claims.csv": "earlier"}  # before anything is written
        write(table, "half")
        raise RuntimeError
    assert kept("a") == {"data/results/a/claims.csv": "earlier"}


def test_git_is_the_copy_of_what_it_holds(capsys):
    git("init", "-q")
    tables = [write(paths.table("a", name), name) for name in ("claims", "sft")]
    manifest = write(paths.manifest("a"), '{"finished": "2026", "profile": "smoke", "settings": {}}')
    git("add", "-A")
    git("commit", "-qm", "a run")
    assert replaced.in_git([*tables, manifest, REPOSITORY / "none"][:3]) == {*tables, manifest}
    replaced.make_room("a")
    assert tables[0].exists() and not capsys.readouterr().out  # `git restore` brings it back
    write(tables[0], "not committed")
    assert replaced.in_git(tables) == {tables[1]}
    replaced.make_room("a")
    assert kept("a")["data/results/a/claims.csv"] == "not committed" and set(map(Path.exists, tables)) == {
        False
    }
    assert manifest.exists()  # the run that begins reads it
    assert capsys.readouterr().out.startswith(
        "The results of the earlier run of a are now in runs/a/replaced/2"
    )


def test_an_unfinished_run_goes_on_where_it_is():
    table = write(paths.table("a", "claims"), "claim")
    write(paths.manifest("a"), '{"finished": null, "profile": "smoke", "settings": {}}')
    replaced.make_room("a")
    assert table.exists() and not kept("a")


def test_moves_that_are_interrupted_have_said_where_the_results_are(monkeypatch, capsys):
    """The next command finds nothing but the manifest, which is no result."""
    table = write(paths.table("a", "claims"), "claim")
    write(paths.manifest("a"), '{"finished": "today", "profile": "smoke", "settings": {}}')

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(replaced.shutil, "move", stop)
        with pytest.raises(KeyboardInterrupt):
            replaced.make_room("a")
    assert "results of the earlier run of a are now in" in capsys.readouterr().out
    table.unlink()
    replaced.make_room("a")
    assert capsys.readouterr().out == ""


def test_a_figure_of_an_earlier_run_is_not_certified(capsys):
    """It stays in the folder if the present run does not draw it, and `verify` would vouch for it."""
    old, new = (write(paths.figures("smoke") / f"{name}.png", name) for name in ("old", "new"))
    os.utime(old, (0, time.time() - 60))
    provenance.start(profiles.load("smoke", run="smoke"))
    replaced.stale("smoke", new.stat().st_mtime)
    provenance.finish("smoke")
    assert list(provenance.read("smoke")["sha256"]) == ["figures/smoke/new.png"]
    assert kept("smoke") == {"figures/smoke/old.png": "old"}


def test_figures_keeps_the_earlier_ones(monkeypatch, capsys):
    write(paths.figures("smoke") / "old.png", "old")
    same = write(paths.figures("smoke") / "same.png", "same")
    monkeypatch.setattr("sepo_lib.figures.draw_all", lambda run: [same])
    assert cli.main(["figures", "--profile", "smoke"]) == 2  # no table and no manifest: there is no such run
    write(paths.table("smoke", "claims"), "claim")
    assert cli.main(["figures", "--profile", "smoke"]) == 0
    assert kept("smoke") == {"figures/smoke/old.png": "old"} and same.exists()
    assert "1 files in figures/smoke/" in capsys.readouterr().out


def test_figures_that_are_drawn_again_are_noted_in_the_manifest(monkeypatch):
    """So `make verify` finds what the command has drawn, and says from which commit it is."""
    old, same, drawn = (
        write(paths.figures("smoke") / f"{name}.png", name) for name in ("old", "same", "drawn")
    )
    provenance.start(profiles.load("smoke", run="smoke"))
    for file in (old, same, drawn):
        os.utime(file)
    provenance.finish("smoke")
    monkeypatch.setattr("sepo_lib.figures.draw_all", lambda run: [same, write(drawn, "with longer names")])
    assert cli.main(["figures", "--profile", "smoke"]) == 0
    manifest = provenance.read("smoke")
    assert manifest["remade"][0]["files"] == ["figures/smoke/drawn.png", "figures/smoke/old.png"]
    assert sorted(manifest["sha256"]) == ["figures/smoke/drawn.png", "figures/smoke/same.png"]
    assert provenance.verify("smoke") == []


def test_a_new_nano_replaces_the_shipped_one_which_is_kept():
    settings = profiles.load("smoke", run="smoke")
    made = paths.job("smoke", "pretrain")
    assert [job.name for job in recipes.pretrain_jobs(settings)] == ["pretrain"]
    assert recipes.pretrain_jobs(profiles.load("smoke", model="smollm2")) == []  # it made nano all the same
    write(paths.models() / "nano" / "config.json", "shipped")
    with pytest.raises(FileNotFoundError, match="set rebuild_base=True"):
        recipes.install_base(settings)
    write(made / "done.json", "{}")
    for name in ("config.json", "training_args.bin"):
        write(made / "model" / name, "new")
    folder = recipes.install_base(settings)
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("config.json", "new")]
    assert [file.name for file in folder.parent.iterdir()] == ["nano"]
    assert kept("smoke") == {"data/models/nano/config.json": "shipped"}


def test_a_run_with_overrides_shares_the_demonstrations_of_git_and_never_writes_them(monkeypatch):
    def fake(folder, names, size, seed):
        write(folder / "ipd.parquet", text)
        return {"ipd.parquet": demonstration_files.sha256(folder, "ipd")}

    monkeypatch.setattr(demonstration_files, "write", fake)
    text = "committed"
    main, part = (profiles.load("laptop", by_hand=False, games=games) for games in (None, "ipd"))
    by_hand, other = profiles.load("laptop"), profiles.load("laptop", demonstrations_seed=9, by_hand=False)
    recipes.make_demonstrations(main)
    shared = paths.demonstrations()
    assert recipes.demonstrations_folder(main) == recipes.demonstrations_folder(part) == shared
    recipes.make_demonstrations(part)
    assert recipes.demonstrations_folder(part) == shared and not (paths.run("laptop-ipd") / "sft").exists()
    for one in (by_hand, other):
        assert recipes.demonstrations_folder(one) == paths.run(one.run) / "sft"
    text = "by other experts"
    recipes.make_demonstrations(part)
    assert recipes.demonstrations_folder(part) == paths.run("laptop-ipd") / "sft"
    assert (shared / "ipd.parquet").read_text() == "committed"
    recipes.make_demonstrations(main)
    assert (shared / "ipd.parquet").read_text() == text
    assert kept("laptop") == {"data/sft/ipd.parquet": "committed"}


# ------------------------------------------------------------------------------------------- git, clean


def ignored(*names):
    command = ["git", "-C", str(REPOSITORY), "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, input="\n".join(names), capture_output=True, text=True)
    if done.returncode > 1:
        pytest.skip("this copy of the kit is no git repository")
    return done.stdout.split()


def test_git_ignores_what_an_unnamed_run_writes_and_not_what_is_committed():
    runs = ["smoke", "mine-own-game"]
    for profile in profiles.names():
        for changed in ({"seeds": 7}, {"games": next(iter(games.GAMES))}, {"steps": 3}):
            runs += [profiles.load(profile, by_hand=hand, **changed).run for hand in (True, False)]
    folders = ("runs", "data/results", "figures")
    files = [f"{folder}/{run}/file" for run in runs for folder in folders]
    files += [
        f"runs/laptop/{name}" for name in (".lock", "replaced/2026/file", "checkpoints/a", "kernel.log")
    ]
    assert ignored(*files) == files
    tracked = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True)
    assert ignored(*tracked.stdout.split("\n")[:-1]) == []
    assert ignored("runs/mine/report.html", "data/results/laptop/new.csv") == []  # a name that was chosen


def test_clean_removes_what_runs_have_made_and_says_so_unless_a_run_is_in_use(root, capsys):
    git("init", "-q")
    committed = write(paths.table("laptop", "claims"), "claim")
    write(root / ".gitignore", "by-hand/\n")
    git("add", "-A")
    git("commit", "-qm", "a run")
    made = [write(paths.table("by-hand/laptop", "claims"), "claim"), write(paths.report("mine"), "page")]
    with lock.held("mine", "make reproduce"):
        assert clean.main() == 2
    assert all(map(Path.exists, made))
    said = capsys.readouterr()
    assert said.err.startswith("error: The run mine is in use by process") and not said.out
    write(committed, "changed")
    assert clean.main() == 0
    assert not any(map(Path.exists, made)) and committed.read_text() == "changed"
    assert capsys.readouterr().out == "Removed:\ndata/results/by-hand/\nruns/\nWhat git holds was kept.\n"
    assert clean.main() == 0 and capsys.readouterr().out == "There was nothing to remove.\n"


def test_clean_leaves_everything_else_if_there_is_no_folder_of_a_run(root, capsys):
    git("init", "-q")
    own = write(root / "notes.txt", "not of a run")
    assert clean.main() == 0 and own.exists()
    assert capsys.readouterr().out == "There was nothing to remove.\n"
