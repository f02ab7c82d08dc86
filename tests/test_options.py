"""Every option of every command refuses what it cannot use: one sentence, exit code 2, nothing written."""

import argparse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepo_lib import __main__ as cli
from sepo_lib.config import paths, profiles
from sepo_lib.run import provenance

#: What each command needs beside the option that is tried.
NEEDED = {
    "play": {"game": "split"},
    "crossplay": {"--game": "split", "--models": "a=nano"},
    "verify": {"--run": "mine"},
    "figures": {"--run": "mine"},
    "push": {"--what": "demonstrations", "--to": "org/name"},
}
#: No option takes one of these.
HOSTILE = [
    *("a\nb", "\n", "\0", "\x1b[31mred", "\ud800", "\u2028", "x" * 5000, "9" * 5000, "x y", " ", "-1", "-x"),
    *("it's", '"', "$(touch made)", "`touch made`", "${HOME}", "; touch made", "> made", "%s", "{0}", "\\"),
    *(
        "../..",
        "/etc/passwd",
        "~",
        "é",
        "模型",
        "🙂",
        "0.5",
        "1.e999",
        "1_0.",
        "+-1",
        "١",
        "a=b=c",
        ",",
        "1,,2",
    ),
]
#: These may be empty, as make passes them: then the option is not given.
CAN_BE_EMPTY = {
    "--profile",
    "--run",
    "--model",
    "--seeds",
    "--games",
    "--steps",
    "--reuse",
    "--executor",
    "--scheduler",
    "--jobs-per-gpu",
    "--groups",
    "--against",
    "--sft-data",
    "--report-to",
    "--out",
    "--base",
    "--dry-run",
}


def options():
    """(command, option) for all options and positional arguments of all commands."""
    commands = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    return [
        (command, ([*action.option_strings] or [action.dest])[0])
        for command, parser in commands.items()
        for action in parser._actions
        if action.dest != "help"
    ]


def line(command, option, *tried):
    """The command line with the values `tried` of the option."""
    given = {name: value for name, value in NEEDED.get(command, {}).items() if name != option}
    words = [value if not name.startswith("-") else f"{name}={value}" for name, value in given.items()]
    own = [f"{option}={value}" if option.startswith("-") else value for value in tried]
    return [command, *words, *own]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A kit with a run that was begun, and nothing else."""
    folder = tmp_path_factory.mktemp("kit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEPO_ROOT", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(folder)
        patch.setattr("sepo_lib.run.jobs.run", lambda *arguments: pytest.fail("a job was started"))
        provenance.start(profiles.load("smoke", run="mine"))
        paths.notebooks().mkdir()
        for name in paths.NOTEBOOKS:
            paths.notebook(name).write_text('{"cells": [], "metadata": {}}')
        yield folder


def state(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(capsys, arguments):
    """What the command says, in one sentence, when it refuses its arguments."""
    capsys.readouterr()
    code = cli.main(arguments)
    said = capsys.readouterr()
    assert code == 2 and said.out == "", (arguments, code, said)
    assert said.err.startswith("error: ") and said.err.count("\n") == 1, (arguments, said.err)
    assert len(said.err) < 600 and said.err.endswith(".\n"), said.err
    return said.err


@pytest.mark.parametrize(("command", "option"), options())
def test_a_value_that_an_option_cannot_take_is_refused(command, option, root, capsys):
    before = state(root)
    for value in HOSTILE:
        if (command, option, value) == ("study-tables", "--run", "1_0"):
            continue  # a run can have this name, and this command needs no model
        if option.startswith("-") or not value.startswith("-"):
            refused(capsys, line(command, option, value))
    if option not in CAN_BE_EMPTY or command in ("play", "crossplay"):
        refused(capsys, line(command, option, ""))
    assert state(root) == before


@pytest.mark.parametrize(("command", "option"), options())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.sampled_from("'\"`$(){};&|<>\\*?#%~!\n\t\0é\u3000 "), min_size=1))
def test_any_odd_text_is_refused(command, option, root, capsys, value):
    before = state(root)
    refused(capsys, line(command, option, value))
    assert state(root) == before


@pytest.mark.parametrize(("command", "option"), [one for one in options() if one[1].startswith("-")])
def test_an_option_that_is_given_twice_or_cut_short_is_refused(command, option, root, capsys):
    assert f"{option}: it is given twice; see " in refused(capsys, line(command, option, "8", "8"))
    if option not in NEEDED.get(command, {}):
        cut = [word.replace(option, option[:-1]) for word in line(command, option, "8")]
        assert f"does not know '{option[:-1]}" in refused(capsys, cut)
    assert f"{option} needs a value" in refused(capsys, [*line(command, option), option])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "The following arguments are required: command; see `python -m sepo_lib --help`."),
        ("retrain", "There is no command 'retrain'; choose from reproduce, train, figures, notebooks, "),
        (
            "reproduce --seed 1",
            "`python -m sepo_lib reproduce` does not know '--seed 1'; its options are --help, ",
        ),
        ("reproduce --seeds -1,2", "--seeds needs a value (with -, write it as --seeds=-1); see "),
        (
            "reproduce --seeds=-1,2",
            "A seed must be a whole number, at least 0 and at most 4294967295, not '-1'.",
        ),
        ("reproduce --seeds 1,1", "The seed 1 is given twice; name each one once."),
        ("reproduce --reuse maybe", "REUSE must be yes or no, not 'maybe'."),
        ("reproduce --sft-data none", "sft_data must be a file or a folder of chat examples, not 'none'; "),
        (
            "reproduce --sft-data notebooks",
            "notebooks holds no examples: needed are files that end with .jsonl",
        ),
        (
            "reproduce --report-to mlflow",
            "There is no tracker 'mlflow'; REPORT_TO takes tensorboard, wandb, ",
        ),
        ("audit none", "There is no file or folder none; pass one with chat examples."),
        ("audit --data none", "There is no file or folder none; pass one with chat examples."),
        ("audit notebooks --out table", "OUT must be a .csv file in a folder that exists, not 'table'."),
        ("push --what notebooks --to me", "TO must be a repository on the hub, such as org/name, not 'me'."),
        ("push --dry-run maybe", "DRY_RUN must be yes or no, not 'maybe'."),
        (
            "reproduce --executor slurm",
            "There is no executor 'slurm'; choose from processes, notebook, dask.",
        ),
        ("reproduce --scheduler tcp://a:1", "SCHEDULER=tcp://a:1 needs EXECUTOR=dask."),
        ("reproduce --jobs-per-gpu 0", "JOBS_PER_GPU must be a whole number from 1 to 1024, not '0'."),
        (
            "study-tables --groups 81",
            "The number of groups must be a multiple of 40, or an even number below 80",
        ),
        ("bench --model gpt", "There is no model to measure called 'gpt'; choose from nano, smollm2."),
        ("verify --run mine --against nothing", "There is no run 'nothing': the runs are mine."),
        ("play split --watch nobody", "Split bargaining has no opponent 'nobody'; choose from "),
        ("play split --seed -1", "--seed: a whole number from 0 to 4294967295 is needed, not '-1'; see "),
        (
            "play split --model runs/laptop/checkpoints/sft/seed-11",
            "There is no folder 'runs/laptop/checkpoints/sft/seed-11'; `make reproduce` makes it first.",
        ),
        (
            "crossplay --game split --models b=runs/smoke/checkpoints/sft/seed-1",
            "There is no folder 'runs/smoke/checkpoints/sft/seed-1'; `make reproduce PROFILE=smoke` ",
        ),
        ("crossplay --game split --models nano", "Write each model as name=PATH, not 'nano'."),
        (
            "crossplay --game split --models a=nano a=nano",
            "The name 'a' is taken; give every model a different",
        ),
        ("crossplay --game split --models train=nano", "The name 'train' is taken; "),
        (
            "crossplay --game split --models a=nano --episodes 0",
            "--episodes: a whole number from 4 to 1000000 is ",
        ),
        (
            "crossplay --game split --models a=nano --episodes 5",
            "Cross-play needs an even number of episodes",
        ),
        (
            "crossplay --game split --models a=nano --pools conflict",
            "split has no pool set 'conflict'; choose ",
        ),
    ],
)
def test_the_sentence_says_what_is_wrong_and_what_is_valid(arguments, sentence, root, capsys):
    before = state(root)
    assert refused(capsys, arguments.split()).startswith(f"error: {sentence}")
    assert state(root) == before
