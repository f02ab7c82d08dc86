"""Set-up: the lock on every supported platform, and the environment that `make env` makes from it."""

import contextlib
import functools
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sepo_lib.config import environment

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-docs.lock")
PYTHONS = ("3.11.0", "3.11.4", "3.11.9", "3.12.8", "3.13.1", "3.14.0")
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))


@functools.cache
def needs(name):
    """The requirements of an installed package; none of a package of another platform."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return [Requirement(text) for text in metadata.requires(name) or []]
    return []


@functools.cache
def blocks(lock):
    """Every requirement of a lock, with its hashes."""
    texts = re.split(r"^(?=\w)", (REPOSITORY / lock).read_text(), flags=re.MULTILINE)[1:]
    return [
        (Requirement(text.split("\\\n")[0].strip()), re.findall(r"--hash=sha256:[0-9a-f]{64}", text))
        for text in texts
    ]


def pins(lock, **platform):
    """The requirements of a lock, with their hashes, that are installed on a platform."""
    found = {}
    for requirement, hashes in blocks(lock):
        if not platform or requirement.marker is None or requirement.marker.evaluate(platform):
            name = canonicalize_name(requirement.name)
            assert name not in found or not platform, f"{name} is pinned twice"
            found[name] = (requirement, hashes)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS, ids="-".join)
def test_whatever_a_pinned_package_needs_is_pinned_on_every_platform(python, platform):
    where = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": platform[0],
        "platform_system": platform[0].capitalize(),
        "platform_machine": platform[1],
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    found = pins("requirements.lock", **where)
    versions = {name: str(pin.specifier)[2:] for name, (pin, _) in found.items()}
    missing = [
        f"{name} needs {needed}"
        for name in found
        for needed in needs(name)
        if needed.marker is None or needed.marker.evaluate(where)
        if canonicalize_name(needed.name) not in versions
        or not needed.specifier.contains(versions[canonicalize_name(needed.name)], prereleases=True)
    ]
    assert missing == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_index(lock):
    found = pins(lock)
    assert len(found) > 50 and [name for name, (_, hashes) in found.items() if not hashes] == []
    assert all(re.fullmatch(r"==\d[\w.!]*", str(pin.specifier)) for pin, _ in found.values())
    assert "://" not in (REPOSITORY / lock).read_text()


def test_the_lock_pins_what_the_project_declares_and_conda_uses_it():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    declared = {
        "requirements.lock": [
            *project["project"]["dependencies"],
            *extras["train"],
            *extras["notebooks"],
            *groups["dev"],
        ],
        "requirements-docs.lock": groups["docs"],
    }
    for lock, texts in declared.items():
        found = pins(lock)
        for requirement in map(Requirement, texts):
            if requirement.name != "sepo-kit":
                version = str(found[canonicalize_name(requirement.name)][0].specifier)[2:]
                assert version in requirement.specifier, requirement
    assert str(pins("requirements.lock")["torch"][0].specifier) == "==2.13.0"
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    assert "python=3.11" in conda and conda[-1]["pip"] == ["-r requirements.lock"]  # `-e .` has no hash
    assert project["project"]["requires-python"] == ">=3.11,<3.15"


def test_torch_is_apart_from_the_rest_of_the_lock():
    lock = (REPOSITORY / "requirements.lock").read_text()
    torch, rest = environment.parts(lock, 1)
    names = [re.split("==", block)[0] for block in re.findall(r"^\w[\w.-]*==", torch, re.MULTILINE)]
    assert "torch" in names and len(names) > 15
    cuda = [pin for name, (pin, _) in pins("requirements.lock").items() if name in names and name != "torch"]
    apple = {"sys_platform": "darwin", "platform_machine": "arm64"}
    assert not any(pin.marker is None or pin.marker.evaluate(apple) for pin in cuda)
    assert "nvidia" not in re.sub("#.*", "", rest) and "numpy==" in rest


def test_the_parts_of_a_lock_have_each_package_once():
    lock = (REPOSITORY / "requirements.lock").read_text()
    parts = environment.parts(lock, 4)
    whole, *apart = (re.findall(r"^\w[\w.-]*==.*", text, re.MULTILINE) for text in (lock, *parts))
    assert len(apart) == 5 and all(len(names) > 15 for names in apart)
    assert sorted(itertools.chain(*apart)) == sorted(whole)


LINUX = {"system": "Linux", "machine": "x86_64", "libc": ("glibc", "2.28"), "version": (3, 11)}


@pytest.mark.parametrize(
    ("here", "named"),
    [
        ({"version": (3, 10)}, "CPython 3.10"),
        ({"version": (3, 15)}, "CPython 3.15"),
        ({"python": "PyPy"}, "PyPy 3.11"),
        ({"free_threaded": True, "version": (3, 13)}, "CPython 3.13 without the GIL"),
        ({"libc": ("", "")}, "musl"),
        ({"libc": ("glibc", "2.17")}, "glibc 2.17"),
        ({"machine": "riscv64"}, "Linux riscv64"),
        ({"system": "Darwin", "machine": "x86_64"}, "Darwin x86_64"),
        ({"system": "Windows", "machine": "AMD64"}, "Use WSL 2"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_sentence(here, named):
    options = {"python": "CPython", "free_threaded": False} | LINUX | here
    refused = environment.refusal(**options)
    assert named in refused and environment.SUPPORTED in refused and "\n" not in refused


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
def test_what_is_supported_is_not_refused(version):
    for here in (
        LINUX,
        LINUX | {"machine": "aarch64"},
        {"system": "Darwin", "machine": "arm64", "libc": ("", "")},
    ):
        options = LINUX | here | {"version": version, "python": "CPython", "free_threaded": False}
        assert environment.refusal(**options) is None


FAKE_UV = """#!/bin/sh
echo "$@" >> {log}
case "$1 $*" in
  "venv "*) rm -rf .venv; mkdir -p .venv/bin; ln -s {python} .venv/bin/python;;
  *part-1.lock*) cp .venv/part-1.lock installed.lock; {then};;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """Runs the set-up with a `uv` that notes its arguments -> the process, these lines, the folder."""
    folder = tmp_path / "it's a kit"
    folder.mkdir()
    log = folder / "uv.log"
    shutil.copy(REPOSITORY / "requirements.lock", folder)

    def run(then=":", **more):
        tools = folder / "tools"
        tools.mkdir(exist_ok=True)
        real = os.path.realpath(sys.executable)
        (tools / "uv").write_text(FAKE_UV.format(log="uv.log", python=shlex.quote(real), then=then))
        (tools / "uv").chmod(0o755)
        log.write_text("")
        command = [sys.executable, "-I", environment.__file__, ".venv", "requirements.lock", "--kit"]
        path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **path, **more}, capture_output=True, text=True
        )
        return done, log.read_text().splitlines(), folder

    return run


@pytest.mark.skipif(sys.platform != "linux" or environment.has_nvidia(), reason="needs Linux without a GPU")
def test_a_machine_without_a_gpu_gets_the_cpu_build_and_locked_hashes(setup):
    done, lines, folder = setup()
    assert done.returncode == 0, done.stderr
    assert [line for line in lines if line.startswith("venv") and "--seed" in line]
    assert [line for line in lines if "--no-deps --torch-backend=cpu torch==2.13.0" in line]
    assert [line for line in lines if "--no-deps --require-hashes -r .venv/part-1.lock" in line]
    installed = (folder / "installed.lock").read_text()
    assert "numpy==" in installed and not re.search("^(torch|nvidia)", installed, re.MULTILINE)
    assert lines[-1].endswith("-e .")
    assert (folder / ".venv/requirements.lock").read_bytes() == (folder / "requirements.lock").read_bytes()
    _, lines, _ = setup(UV_TORCH_BACKEND="rocm")
    assert "--torch-backend=rocm torch==2.13.0" in "\n".join(lines)
    assert not [line for line in lines if line.startswith("venv")]  # the environment is whole: it is kept


def test_an_environment_whose_making_was_killed_is_made_anew(setup):
    done, _, folder = setup(then="kill -9 $PPID")
    assert done.returncode == -signal.SIGKILL and not (folder / ".venv/requirements.lock").exists()
    done, lines, _ = setup()
    assert done.returncode == 0 and "--clear" in lines[0]


def test_a_failed_installation_is_one_sentence_and_nothing_counts_as_installed(setup):
    done, _, folder = setup(then="echo 'error: Request failed after 3 retries' >&2; exit 2")
    assert done.returncode == 1 and not (folder / ".venv/requirements.lock").exists()
    assert "error: The packages could not be installed: Request failed after 3 retries. Set-up" in done.stderr
    assert "run the same command again" in done.stderr and len(done.stderr.splitlines()) == 1
    _, lines, _ = setup()
    assert not [line for line in lines if line.startswith("venv")]
    assert (folder / ".venv/requirements.lock").exists()
    setup(then="exit 2")  # of several parts, one may have been installed: an older lock does not count either
    assert not (folder / ".venv/requirements.lock").exists()


def make(folder, *arguments, **more):
    ours = ("MAKE", "MFLAGS", "CONDA", "MPLCONFIGDIR")
    found = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=found | more, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path):
    """Makes a folder of a name with the Makefile and the lock."""

    def copy(name):
        (tmp_path / name).mkdir()
        for file in ("Makefile", "requirements.lock"):
            shutil.copy(REPOSITORY / file, tmp_path / name)
        return tmp_path / name

    return copy


@pytest.mark.parametrize("name", ["a kit", "a=kit", "it's", "künd", "$HOME", "a#b", "a;b", 'a"b', "a%b"])
def test_make_works_in_a_folder_of_any_name(clone, name):
    folder = clone(name)
    assert "reproduce" in make(folder, "help").stdout
    python = folder / "python"
    python.write_text('#!/bin/sh\necho "$PYTHONPATH"\n')
    python.chmod(0o755)
    assert make(folder, "lab", "PYTHON=./python", PYTHONPATH="").stdout.splitlines()[-1] == str(folder)


def test_make_refuses_what_cannot_work_in_one_sentence(clone, tmp_path):
    done = make(clone("a:b"), "help")
    assert done.returncode == 2 and "a path has a colon" in done.stderr.replace("whose ", "a ")
    folder = clone("kit")
    done = make(folder, "help", OS="Windows_NT")
    assert done.returncode == 2 and "use WSL 2" in done.stderr and len(done.stderr.splitlines()) == 1
    tools = tmp_path / "tools"  # no Python but an old one, and no uv
    tools.mkdir()
    for tool in ("cmp", "touch", "test", "id", "uname", "sh"):
        (tools / tool).symlink_to(shutil.which(tool))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    command = [shutil.which("make"), "env"]
    done = subprocess.run(command, cwd=folder, env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error: Python 3.11 to 3.14 is needed, and none was found")


def test_an_environment_without_its_python_is_made_again(clone):
    folder = clone("kit")
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(folder / "requirements.lock", folder / ".venv")
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    assert "environment.py" not in make(folder, "-n", "env").stdout
    (folder / ".venv/bin/python").unlink()
    (folder / ".venv/bin/python").symlink_to("/nowhere/python")
    assert "environment.py" in make(folder, "-n", "env").stdout
