"""What a run needs of the machine is said before it begins."""

import pytest

from sepo_lib import __main__ as cli
from sepo_lib.config import bundled, profiles
from sepo_lib.config.errors import MissingError
from sepo_lib.run import executors, needs


def test_the_profile_paper_says_at_once_what_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(needs, "_has_gpu", lambda: False)
    monkeypatch.setattr(bundled, "resolve", lambda name: pytest.fail("the hub was asked first"))
    assert cli.main(["reproduce", "--profile", "paper"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: The profile paper trains Qwen/Qwen3.5-4B for 4,500 steps of SEPO")
    assert "needs a GPU with about 48 GB" in said and "no GPU was found here" in said
    assert said.count("\n") == 1


def test_a_gpu_or_a_small_model_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "_has_gpu", lambda: False)
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    small = profiles.load("paper", model=tmp_path)
    for settings in (profiles.load("laptop"), profiles.load("paper", model="smollm2"), small):
        needs.check(settings)
    monkeypatch.setattr(needs, "SMALL", 99)
    with pytest.raises(MissingError, match=r"pass a small model"):
        needs.check(small)
    monkeypatch.setattr(needs, "_has_gpu", lambda: True)
    needs.check(small)


def test_with_dask_the_gpus_are_those_of_the_workers(monkeypatch):
    monkeypatch.setattr(needs, "_has_gpu", lambda: False)
    monkeypatch.setenv(executors.EXECUTOR, "dask")
    needs.check(profiles.load("paper"))
    monkeypatch.setenv(executors.EXECUTOR, "processes")
    with pytest.raises(MissingError):
        needs.check(profiles.load("paper"))
