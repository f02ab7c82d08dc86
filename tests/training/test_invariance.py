"""Settings that must train alike, each against one committed curve (see record_curve.py).

They change how a step is computed and not what it computes: the curves agree but for rounding. The last
test shows that the comparison notices a change of the update.
"""

import json
import os
import subprocess
import sys

import pytest
import record_curve
import torch

from sepo_lib.method import credit
from sepo_lib.play.engines import parts, row_loss
from sepo_lib.training import sepo

REFERENCE = json.loads(record_curve.REFERENCE.read_text())


class Died(Exception):
    pass


def plain(folder, monkeypatch):
    return record_curve.curve(folder)


def micro_batches(folder, monkeypatch):
    return record_curve.curve(folder, micro_batches=4)


def plain_generation(folder, monkeypatch):
    return record_curve.curve(folder, engine="generate")


def plain_forward_passes(folder, monkeypatch):
    monkeypatch.setattr(row_loss.scoring, "reader", lambda model: None)
    return record_curve.curve(folder)


def padded_lines(folder, monkeypatch):
    monkeypatch.setattr(row_loss.scoring, "reader", lambda model: row_loss.padded.logps)
    return record_curve.curve(folder)


def parts_by_memory(folder, monkeypatch):
    monkeypatch.setattr(parts, "_CPU", 400)
    return record_curve.curve(folder, micro_batches=None)


def rows_not_merged(folder, monkeypatch):
    merge = sepo.merge_rows
    numbers = []

    def one_row_a_decision(episodes, advantages, weights):
        assert weights is None  # of one game
        rows = []
        for episode, advantage_D in zip(episodes, advantages, strict=True):
            decisions = episode.decisions
            for number, decision in enumerate(decisions):
                episode.decisions = [decision]
                rows += merge([episode], [None if advantage_D is None else advantage_D[[number]]])
            episode.decisions = decisions
        numbers.append((len(rows), len(merge(episodes, advantages))))
        return rows

    monkeypatch.setattr(sepo, "merge_rows", one_row_a_decision)
    curve = record_curve.curve(folder)
    assert all(apart > merged for apart, merged in numbers) and len(numbers) == record_curve.STEPS
    return curve


def resumed(folder, monkeypatch):
    def die(step):
        if step == 4:  # behind the checkpoint of step 2
            raise Died

    with pytest.raises(Died):
        record_curve.curve(folder, evaluate=die)
    seen = []
    curve = record_curve.curve(folder, evaluate=seen.append)
    assert seen == [4]
    return curve


def two_processes(folder, monkeypatch):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    command += [record_curve.__file__, str(folder / "curve.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "curve.json").read_text())


SETTINGS = (
    plain,
    micro_batches,
    plain_generation,
    plain_forward_passes,
    padded_lines,
    parts_by_memory,
    rows_not_merged,
    resumed,
    two_processes,
)


def agree(found, expected):
    """Whether two curves are one but for rounding, which Adam enlarges from step to step."""
    return all(
        row[column] == pytest.approx(other[column], rel=0.02, abs=1e-4)
        for row, other in zip(found, expected, strict=True)
        for column in record_curve.COLUMNS
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.__name__)
def test_it_trains_as_the_reference(setting, tmp_path, monkeypatch):
    found = setting(tmp_path, monkeypatch)
    assert agree(found, REFERENCE["curve"]), (found, REFERENCE)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.8e-3},
        {"kl_beta": 0.1},
        {"estimator": credit.preset("unbiased").with_(weights="equal")},
        {"seed": 6},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_the_update_is_noticed(change, tmp_path):
    assert not agree(record_curve.curve(tmp_path, **change), REFERENCE["curve"])


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU measures its memory")
def test_a_gpu_measures_a_token_and_two_runs_train_alike(tmp_path, monkeypatch):
    """What is promised on a GPU, where sums have no fixed order: two steps that differ by 1e-3 at most."""
    sizes = []
    accumulate = parts.Parts.accumulate

    def watched(self, *arguments):
        found = accumulate(self, *arguments)
        sizes.append((self.tokens, self.measured))
        return found

    monkeypatch.setattr(parts.Parts, "accumulate", watched)
    first, second = (record_curve.curve(tmp_path / name, steps=2, micro_batches=None) for name in "ab")
    assert all(measured and tokens > 2048 for tokens, measured in sizes) and len(sizes) == 4
    for row, other in zip(first, second, strict=True):
        assert all(row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5) for name in row)
