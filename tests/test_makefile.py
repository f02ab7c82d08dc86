"""The options of make reach the command as they were typed, and one that is not used is an error."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TYPED = [
    "/tmp/it's",
    'a "b" c',
    "$(shell touch made) `touch made` $HOME $$ ${x} \\ # % ; & | > made",
    "line\nline",
    "-1,2",
    "größe = 模型",
]


@pytest.fixture
def make(tmp_path):
    """make with a Python that prints its arguments, a line each, and ends with NUL."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nshift 2\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o755)

    def call(*arguments, **environment):
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        command = ["make", "-s", "-f", str(REPOSITORY / "Makefile"), f"PYTHON={python}", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=outside | environment, capture_output=True, text=True, check=False
        )

    call.folder = tmp_path
    return call


@pytest.mark.parametrize("typed", TYPED)
def test_a_value_is_neither_expanded_nor_evaluated(make, typed):
    options = {"profile": "PROFILE", "run": "RUN", "model": "MODEL", "games": "GAMES", "seeds": "SEEDS"}
    options |= {
        "steps": "STEPS",
        "sft-data": "SFT_DATA",
        "set": "SET",
        "reuse": "REUSE",
        "report-to": "REPORT_TO",
    }
    options |= {"executor": "EXECUTOR", "scheduler": "SCHEDULER", "jobs-per-gpu": "JOBS_PER_GPU"}
    expected = ["reproduce", *(f"--{name}={typed}" for name in options), ""]
    assert make("reproduce", *(f"{name}={typed}" for name in options.values())).stdout.split("\0") == expected
    assert make("reproduce", **dict.fromkeys(options.values(), typed)).stdout.split("\0") == expected
    assert make("verify", f"AGAINST={typed}").stdout.split("\0")[-2] == f"--against={typed}"
    assert make("bench", f"MODEL={typed}").stdout.split("\0")[-2] == f"--model={typed}"
    assert make("audit", f"DATA={typed}", f"OUT={typed}").stdout.split("\0") == [
        *("audit", f"--data={typed}", f"--out={typed}", "")
    ]
    options = {"what": "WHAT", "to": "TO", "base": "BASE", "dry-run": "DRY_RUN"}
    pushed = make("push", *(f"{name}={typed}" for name in options.values())).stdout.split("\0")
    assert pushed == ["push", *(f"--{name}={typed}" for name in options), ""]
    assert [file.name for file in make.folder.iterdir()] == ["python"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("reproduce SEED=1", "make reproduce has no option SEED; its options are PROFILE MODEL SEEDS "),
        ("reproduce profile=smoke", "make reproduce has no option profile; "),
        ("figures SEEDS=1", "make figures has no option SEEDS; its options are PROFILE RUN PYTHON"),
        ("study PROFILE=smoke", "make study has no option PROFILE; "),
        ("reproduec", "No rule to make target 'reproduec'"),
    ],
)
def test_an_option_that_is_not_used_is_an_error(make, arguments, sentence):
    done = make(*arguments.split())
    assert done.returncode == 2 and not done.stdout
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_variables_of_the_environment_can_be_options_of_make(make):
    done = make("reproduce", "verify", "SEPO_GAMES=x", "HF_HUB_OFFLINE=0", "AGAINST=a", "RUN=b", "SEEDS=1")
    assert "--seeds=1" in done.stdout and "--against=a" in done.stdout and not done.stderr
    assert make("help", "SEEDS=1").returncode == 0
    assert "--run=b\0" in make("figures", RUN="b", SEEDS="1").stdout
