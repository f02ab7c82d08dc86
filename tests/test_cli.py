"""The commands, on tiny notebooks in a folder of their own; and the files that set up the environment."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sepo_lib import __main__ as cli
from sepo_lib.config import paths, profiles
from sepo_lib.run import events, headless, jobs, lock, provenance

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(
        "sepo_lib.report.documents.update", lambda profile: None
    )  # needs a whole run: test_notebooks
    monkeypatch.setattr("sepo_lib.report.claims_page.update", lambda: None)  # the same
    monkeypatch.setattr("sepo_lib.report.data_page.update", lambda: None)  # needs a committed table
    monkeypatch.setattr("sepo_lib.report.documents.update_earlier", lambda: None)  # the same
    monkeypatch.setattr("sepo_lib.report.documents.update_nano", lambda profile: None)  # the same
    paths.notebooks().mkdir()
    return tmp_path


@pytest.fixture
def nano(root):
    """The model of the profiles."""
    shutil.copytree(REPOSITORY / "data" / "models", paths.models())


def notebook(*sources):
    parameters = "profile = 'laptop'\nmodel = None\nseeds = None\ngames = None\nsteps = None\nrun = None"
    cells = [new_markdown_cell("# A question"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    return new_notebook(cells=cells + [new_code_cell(source) for source in sources])


def write(name, book):
    nbformat.write(book, paths.notebooks() / f"{name}.ipynb")


# --------------------------------------------------------------------------------------- reproduce

STAGE = """\
from sepo_lib.config import paths
from sepo_lib.run import jobs
import pandas as pd
job = jobs.Job("a", "toy_jobs:count", {"start": 1, "steps": 3}, 3)
jobs.run([job, jobs.Job("b", job.function, job.arguments, 3)], run, "sft", workers=2)"""

CLAIMS = """\
from sepo_lib.report import claims
rows = [dict.fromkeys(claims.COLUMNS) | {"claim": "C1", "statement": "A claim", "recipe": r} for r in "ab"]
rows[0] |= {"measured": 0.25, "ci_low": 0.1, "ci_high": 0.4, "verdict": "supported"}
rows[1] |= {"verdict": "not run", "reason": "not trained here"}
paths.write_table(pd.DataFrame(rows), run, "claims")
print(profile, model, seeds, games, steps)"""


def test_reproduce_runs_the_notebooks_and_says_where_everything_is(root, nano, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", ("00_one",))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))
    monkeypatch.setitem(sys.modules, "sepo_lib.report.html_page", SimpleNamespace(build=lambda profile: None))
    monkeypatch.setattr(
        "sepo_lib.report.html_page", SimpleNamespace(build=lambda profile: None), raising=False
    )
    write("00_one", notebook(STAGE, CLAIMS))
    assert cli.main(["reproduce", "--profile", "smoke", "--seeds", "5,6", "--model", ""]) == 0

    said = capsys.readouterr().out
    assert "[1/1] 00_one" in said and "done in 0:" in said
    assert re.search(r"C1 +A claim\n +a +supported +0\.25 \[0\.1, 0\.4\]\n +Not run: C1 \(b\)\.\n", said)
    assert not re.search(r"\bnan\b", said) and "its verdicts and numbers mean nothing.\n\n  report" in said
    run = "smoke-seeds-5-6"  # a run of its own, beside that of the profile
    for place in (f"runs/{run}/report.html", f"data/results/{run}/", f"figures/{run}/"):
        assert place in said
    assert not paths.run("smoke").exists() and not paths.results("smoke").exists()
    executed = nbformat.read(paths.executed(run) / "00_one.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "smoke None [5, 6] None None\n"
    assert str(root) not in json.dumps(executed)

    manifest = provenance.read(run)
    assert manifest["seeds"] == [5, 6] and manifest["finished"]
    assert manifest["stages"]["00_one"]["attempts"] == 1
    assert list(manifest["sha256"]) == [f"data/results/{run}/claims.csv"]
    assert manifest["rules"]["C1"] == 4  # the versions of the rules that decided
    assert str(root) not in json.dumps(manifest)
    assert manifest["model"]["name"] == "nano" and re.fullmatch(r"[0-9a-f]{64}", manifest["model"]["sha256"])
    again = ["reproduce", "--profile", "smoke", "--seeds", "5,6"]
    capsys.readouterr()
    assert cli.main(again) == 0 and provenance.read(run) == manifest  # no notebook has run
    assert capsys.readouterr().out.startswith(f"Nothing to do: the run {run} was finished on 20")

    file = paths.job(run, "a") / "done.json"  # as if it were made by other code
    older = json.loads(file.read_text()) | {"code": "0", "fingerprint": "0", "sources": {"toy_jobs.py": "0"}}
    file.write_text(json.dumps(older))
    paths.table(run, "claims").unlink()
    monkeypatch.setenv("SEPO_REUSE", "")
    assert cli.main([*again, "--reuse", "yes"]) == 0
    said = capsys.readouterr().out
    assert f"  changed   data/results/{run}/claims.csv is missing\n" in said
    assert "1 of 2 jobs was made by older code (REUSE=yes)." in said
    made = provenance.read(run)["jobs"]
    assert made["a"]["reused"] and made["a"]["code"] == "0" and "reused" not in made["b"]
    assert made["b"]["finished"].startswith("20") and set(made["b"]) >= {"seconds", "code", "commit", "dirty"}
    assert cli.main(["verify", "--run", run]) == 0
    paths.table(run, "claims").write_text("claim\n")
    pd.DataFrame().to_csv(paths.results(run) / "more.csv")
    assert cli.main(["verify", "--run", run]) == 1
    assert "claims.csv has changed since the run.\n" in capsys.readouterr().out


def test_a_failing_notebook_is_one_sentence_and_where_to_look(root, nano, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", ("00_one", "01_two"))
    for name in paths.NOTEBOOKS:
        write(name, notebook("raise RuntimeError('first line\\nno cards left')"))
    provenance.start(profiles.load("smoke", run="smoke"))
    earlier = paths.write_table(pd.DataFrame({"claim": ["C1"]}), "smoke", "claims").read_bytes()
    provenance.finish("smoke")
    assert cli.main(["reproduce", "--profile", "smoke"]) == 1
    said = capsys.readouterr()
    kept = re.search(
        "The results of the earlier run of smoke are now in (runs/smoke/replaced/.+)/.\n", said.out
    )
    assert (root / kept[1] / "data/results/smoke/claims.csv").read_bytes() == earlier
    assert not paths.table("smoke", "claims").exists()
    assert said.err.splitlines() == [
        "error: 00_one stopped: RuntimeError: no cards left",
        "The notebook as far as it went: runs/smoke/notebooks/00_one.ipynb",
        "Nothing was deleted; the same command continues where it stopped.",
    ]
    assert not (paths.executed("smoke") / "01_two.ipynb").exists()
    assert provenance.verify("smoke")[0].startswith("The run was started on")


@pytest.mark.parametrize(
    "arguments", [["--profile", "big"], ["--games", "chess"], ["--model", "gpt"], ["--steps", "few"]]
)
def test_bad_input_exits_with_2_and_creates_nothing(root, arguments, capsys):
    assert cli.main(["reproduce", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert [path.name for path in root.iterdir()] == ["notebooks"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("study-tables --profile smoke --groups 0", "number of groups must be a whole number, at least 16"),
        (
            "study-tables --profile smoke --groups -3",
            "number of groups must be a whole number, at least 16",
        ),
        ("reproduce --profile smoke --model notebooks", "The folder 'notebooks' holds no model"),
        ("play split --model notebooks", "The folder 'notebooks' holds no model"),
        ("reproduce --profile smoke --seeds 99999999999999999999999", "A seed must be .* at most 4294967295"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_before_anything_is_begun(root, command, sentence, capsys):
    assert cli.main(command.split()) == 2
    said = capsys.readouterr()
    assert re.match(f"error: (The )?{sentence}", said.err) and said.err.count("\n") == 1 and not said.out
    assert [path.name for path in root.iterdir()] == ["notebooks"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "reproduce --profile smoke --run mine --games kuhn",
            "The run 'mine' exists with other settings (games ipd; here games kuhn); choose another name",
        ),
        (
            "reproduce --run mine --seeds 5",
            "The run 'mine' exists with other settings (games ipd, seeds 11, 12",
        ),
        (
            "reproduce --profile laptop --run mine",
            "The run 'mine' exists with other settings (profile smoke, ",
        ),
        ("study-tables --run mine --groups 20", "The run 'mine' exists with other settings (games ipd, "),
        (
            "verify --profile laptop --run mine",
            "The run 'mine' was made with the profile smoke, not with laptop; ",
        ),
        (
            "reproduce --profile smoke --run smoke --seeds 1",
            "The run 'smoke' is that of the profile smoke without",
        ),
        ("reproduce --profile smoke --run mine-own-game", "The run 'mine-own-game' belongs to notebook 06; "),
        ("reproduce --run mine", "The run mine is in use by process "),
        ("figures --run mine", "The run mine is in use by process "),
        ("study-tables --run mine", "The run mine is in use by process "),
    ],
)
def test_a_run_that_another_command_made_or_uses_is_left_as_it_is(
    root, nano, command, sentence, capsys, monkeypatch
):
    write(paths.NOTEBOOKS[0], notebook())
    monkeypatch.setattr(paths, "NOTEBOOKS", paths.NOTEBOOKS[:1])
    provenance.start(profiles.load("smoke", run="mine", games="ipd"))
    with lock.held("mine", "make reproduce"):
        monkeypatch.setattr(lock, "_held", {})  # as if another process held it
        before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
        assert cli.main(command.split()) == 2
        assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
        monkeypatch.undo()
        monkeypatch.setenv("SEPO_ROOT", str(root))
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {sentence}") and said.err.count("\n") == 1 and not said.out


def test_a_failed_job_is_one_sentence(root, monkeypatch, capsys):
    def fail(*arguments):
        raise jobs.JobError("1 of 2 jobs of studies failed: a (no cards left).")

    monkeypatch.setattr(jobs, "run", fail)
    assert cli.main(["study-tables", "--profile", "smoke"]) == 1
    assert capsys.readouterr().err == "error: 1 of 2 jobs of studies failed: a (no cards left).\n"


def test_the_module_is_a_command():
    command = [sys.executable, "-m", "sepo_lib", "reproduce", "--profile", "big"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    names = "smoke, laptop, smollm2, gpu, paper, study"
    assert done.stderr == f"error: There is no profile 'big'; choose from {names}.\n"


def test_a_line_of_progress():
    progress = events.Progress("sepo", 12, 30, 740, 1800, 372.0, 520.0)
    assert headless.line("x", progress, 1.0).endswith("  starting")
    progress.doing = {"sepo/kuhn/seed-11": "step 4 of 60"}
    assert headless.line("[4/6] 03_sepo_grpo", progress, 372.0) == (
        "[4/6] 03_sepo_grpo  12/30 jobs  step 740/1800  elapsed 6:12  left about 8:40  "
        "sepo/kuhn/seed-11: step 4 of 60"
    )
    progress.doing |= {"b": "loading the model", "c": "loading the model"}
    assert headless.line("x", progress, 372.0).endswith("seed-11: step 4 of 60, and 2 more jobs")
    progress.metrics = {"a": {"parse_rate": 0.96}, "b": {"parse_rate": 0.62}, "c": {"loss": 1.0}}
    assert headless.line("x", progress, 372.0).endswith(
        "left about 8:40  parse rate 0.62: the actions of the other answers come from the constrained decode"
        "  sepo/kuhn/seed-11: step 4 of 60, and 2 more jobs"
    )
    progress.finished = True
    assert headless.line("x", progress, 372.0) == "x  elapsed 6:12"
    assert headless.line("[1/6] 00_base_model", None, 3700.0) == "[1/6] 00_base_model  elapsed 1:01:40"
    assert headless.line("x", progress, 372.0, "Cross-play") == "x  elapsed 6:12  section “Cross-play”"
    progress.finished = False
    assert "Cross-play" not in headless.line("x", progress, 372.0, "Cross-play")


def test_the_section_of_a_notebook_is_the_heading_above_the_cell_that_runs():
    def cell(kind, source="", status=None):
        metadata = {"papermill": {"status": status}} if status else {}
        return {"cell_type": kind, "source": [source], "metadata": metadata}

    head = [
        cell("code", status="completed"),
        cell("markdown", "# One\n\ntext\n"),
        cell("code", "# no heading"),
    ]
    assert headless.section([*head, cell("code", status="running"), cell("markdown", "## Two")]) == "One"
    two = [cell("markdown", "text\n## Two\n# not Three in the middle"), cell("code", status="running")]
    assert headless.section([*head, *two]) == "not Three in the middle"
    assert headless.section(head) == "" and headless.section([cell("code", status="running")]) == ""


def test_profiles_are_printed_with_their_reasons(capsys):
    assert cli.main(["profiles"]) == 0
    said = capsys.readouterr().out
    for name, block in profiles.hyperparameters().items():
        assert f"{name}\n  {block['meaning']}\n" in said and block["why"] in said


def test_a_run_that_goes_on_adds_up_its_time(root):
    settings = profiles.load("smoke", run="smoke")
    provenance.start(settings)
    provenance.record("smoke", "02_sft", 10.0)
    provenance.start(settings)
    provenance.record("smoke", "02_sft", 5.0)
    assert provenance.read("smoke")["stages"] == {"02_sft": {"seconds": 15.0, "attempts": 2}}
    assert provenance.seconds(settings) is None
    for job, seconds in (("sft/seed-1", 4.25), ("base/seed-1", 1.5)):
        folder = paths.checkpoints("smoke") / job
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(json.dumps({"seconds": seconds}))
    os.utime(paths.checkpoints("smoke") / "base/seed-1/done.json", (0, 0))
    copied = paths.checkpoints("smoke") / "sepo/seed-1"  # its files are as young as the copy
    copied.mkdir(parents=True)
    (copied / "done.json").write_text(json.dumps({"seconds": 2.0, "finished": "2026-01-01T00:00:00+00:00"}))
    provenance.finish("smoke")
    manifest = provenance.read("smoke")
    seconds = {"base/seed-1": 1.5, "sepo/seed-1": 2.0, "sft/seed-1": 4.25}
    assert provenance.seconds_of_jobs(manifest) == seconds
    assert provenance.seconds_of_jobs({"jobs": {"a": 1.5}}) == {"a": 1.5}  # of an older run
    assert provenance.read("smoke")["job_seconds"] == 7.8  # to a tenth
    assert provenance.read("smoke")["job_seconds_before"] == 3.5  # done before the run, in no notebook's time
    assert provenance.seconds(settings) == 15.0 + 3.5 / settings.workers
    assert provenance.start(settings)["stages"] == {}  # the one before has finished


def test_a_run_with_other_settings_begins_its_time_anew(root, monkeypatch):
    provenance.start(profiles.load("smoke", run="smoke"))
    provenance.record("smoke", "02_sft", 10.0)
    monkeypatch.setitem(profiles.hyperparameters()["clip"], "default", 0.3)
    assert provenance.start(profiles.load("smoke", run="smoke"))["stages"] == {}


# ---------------------------------------------------------------------------- publishing notebooks


def ran(book, *outputs):
    """`book` as papermill leaves it: counted on, with an injected cell, timings and these last outputs."""
    book = nbformat.from_dict(book.copy())
    book.metadata.papermill = {"duration": 1.5, "output_path": "/somewhere"}
    injected = new_code_cell("profile = 'smoke'", metadata={"tags": ["injected-parameters"]})
    book.cells.insert(2, injected)
    for count, cell in enumerate(cell for cell in book.cells if cell.cell_type == "code"):
        cell.execution_count = 7 + count
        cell.metadata["papermill"] = {"duration": 0.5}
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    book.cells[-1].outputs = list(outputs)
    paths.executed("smoke").mkdir(parents=True, exist_ok=True)
    provenance.start(profiles.load("smoke", run="smoke"))
    nbformat.write(book, paths.executed("smoke") / "00_one.ipynb")


def shown(text):
    return new_output("stream", name="stdout", text=text)


def test_publishing_keeps_outputs_and_nothing_else(root):
    write("00_one", notebook("1 + 1"))
    result = new_output("execute_result", data={"text/plain": "2"}, execution_count=9)
    widget = new_output(
        "display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%"}
    )
    ran(notebook("1 + 1"), result, widget)
    assert cli.main(["notebooks", "--profile", "smoke"]) == 0
    book = nbformat.read(paths.notebooks() / "00_one.ipynb", as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2]
    assert [out.execution_count for out in code[1].outputs] == [2]
    assert [cell.metadata for cell in code] == [{"tags": ["parameters"]}, {}]
    assert "papermill" not in book.metadata and "smoke" not in json.dumps(book)


def failure():
    return new_output("error", ename="ValueError", evalue="no", traceback=[])


@pytest.mark.parametrize(
    ("source", "output", "sentence"),
    [
        ("1 + 2", lambda: shown("2"), "The cells of 00_one have changed since the run; run it again"),
        ("1 + 1", lambda: shown(f"in {paths.root()}/runs"), "shows a folder of a machine"),
        ("1 + 1", lambda: shown(f"in {Path.home()}/.cache"), "shows a folder of a machine"),
        ("1 + 1", lambda: new_output("stream", name="stderr", text="Warning"), "shows text on stderr"),
        ("1 + 1", failure, "The run of 00_one ended with an error"),
    ],
)
def test_publishing_refuses(root, source, output, sentence, capsys):
    write("00_one", notebook(source))
    before = (paths.notebooks() / "00_one.ipynb").read_bytes()
    ran(notebook("1 + 1"), output())
    assert cli.main(["notebooks", "--profile", "smoke"]) == 2
    assert sentence in capsys.readouterr().err
    assert (paths.notebooks() / "00_one.ipynb").read_bytes() == before


def test_publishing_refuses_a_report_that_shows_a_machine(root, capsys):
    write("00_one", notebook("1 + 1"))
    ran(notebook("1 + 1"), shown("2"))
    paths.report("smoke").write_text("<p>/home/someone/kit</p>")
    assert cli.main(["notebooks", "--profile", "smoke"]) == 2
    assert "runs/smoke/report.html shows folders of a machine (/home/someone)" in capsys.readouterr().err


def test_publishing_needs_a_run(root, capsys):
    assert cli.main(["notebooks", "--profile", "smoke"]) == 2
    assert capsys.readouterr().err == (
        "error: There is no run 'smoke': there is none yet; `make reproduce PROFILE=smoke` makes it.\n"
    )
    paths.executed("by-hand/smoke").mkdir(parents=True)
    paths.results("bench").mkdir(parents=True)
    for command in ("figures", "verify", "remeasure", "notebooks", "document"):
        assert cli.main([command, "--run", "smok"]) == 2
        assert capsys.readouterr().err == "error: There is no run 'smok': the runs are by-hand/smoke.\n"
    assert not paths.run("smok").exists()


# -------------------------------------------------------------------------------- the environment


def test_ci_calls_make_test():
    script = REPOSITORY / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == "make test"


def test_make_lists_its_targets_and_asks_for_a_hub_only_where_it_must():
    ours = ("HF_", "MAKE", "MFLAGS", "PROFILE", "MODEL")  # these tests may themselves be run by make
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def make(*arguments):
        command = ["make", *arguments]
        options = {"capture_output": True, "text": True, "check": False}
        return subprocess.run(command, cwd=REPOSITORY, env=clean, **options).stdout

    listed = set(re.findall(r"^  (\w+) ", make(), flags=re.MULTILINE))
    assert {
        "env",
        "reproduce",
        "test",
        "torture",
        "lab",
        "figures",
        "notebooks",
        "remeasure",
        "verify",
        "bench",
        "clean",
        "help",
    } <= listed
    offline = "HF_HUB_OFFLINE"
    assert offline in make("-pn", "help") and offline in make("-pn", "help", "PROFILE=paper", "MODEL=nano")
    assert offline not in make("-pn", "help", "PROFILE=paper")
    assert offline not in make("-pn", "help", "MODEL=org/name")
