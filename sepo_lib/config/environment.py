"""Makes a Python environment from a lock with hashes: with uv where it is installed, else with pip.

    python -I sepo_lib/config/environment.py .venv requirements.lock --kit

`make env` and `make docs` run this file before any package is installed: it needs the standard library alone.
`--kit` also makes the kit itself importable. The folder is complete once it holds a copy of the lock. An
environment is made anew if its making was killed.

torch has a step of its own, because the default build for Linux needs CUDA: 2.7 GB in all. An installed torch
of the locked version is kept. A machine without an NVIDIA GPU gets the CPU build, if an index offers it: uv
knows such an index, and pip asks the indexes of its configuration. The lock has no hash of a CPU build, so
only its version is pinned. Otherwise the build of the lock is installed, with its hashes.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SUPPORTED = (
    "CPython 3.11 to 3.14 on Linux (x86-64 or aarch64, glibc 2.28 or newer) and macOS 14 or newer (arm64)"
)

#: The packages of the lock that only the default build of torch for Linux needs.
CUDA = ("nvidia-", "cuda-", "triton")

#: How many processes of pip install at the same time. Each one loads and unpacks one package after the other.
AT_ONCE = 4

#: Where a driver of NVIDIA leaves its traces.
_DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/nvidia-smi")


class SetupError(Exception):
    """The environment cannot be made. The message says why, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Make the environment; 1 with one line on stderr if it cannot be made."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--kit", action="store_true", help="make the kit importable as well")
    asked = parser.parse_args(arguments)
    try:
        if refused := refusal():
            raise SetupError(refused)
        make(asked.folder, asked.lock, asked.kit)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def refusal(
    system: str = platform.system(),
    machine: str = platform.machine(),
    libc: tuple[str, str] = platform.libc_ver(),
    version: tuple[int, ...] = tuple(sys.version_info[:2]),
    python: str = platform.python_implementation(),
    free_threaded: bool = bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
) -> str | None:
    """Why the lock has no packages for this Python or platform, in one sentence; None if it has them."""
    named = ".".join(map(str, version))
    if python != "CPython" or free_threaded or not (3, 11) <= tuple(version) < (3, 15):
        here = f"{python} {named}{' without the GIL' if free_threaded else ''}"
    elif (system, machine) not in (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")):
        here = f"{system} {machine}"
    elif system == "Linux" and (libc[0] != "glibc" or tuple(map(int, libc[1].split(".")[:2])) < (2, 28)):
        here = f"Linux with {' '.join(libc).strip() or 'another C library, such as musl,'}"
    else:
        return None
    remedy = " Use WSL 2, which is Linux." if system == "Windows" else ""
    return f"{here} is not supported; the kit runs with {SUPPORTED}.{remedy}"


def make(folder: Path, lock: Path, kit: bool) -> None:
    """Install the packages of `lock` into the environment `folder`, which is made or repaired first.

    Raises SetupError.
    """
    uv, python, unfinished = shutil.which("uv"), folder / "bin" / "python", folder / "unfinished"
    if unfinished.exists() or not _works(python):
        print(f"Making {folder} with Python {platform.python_version()} ...", flush=True)
        _create(folder, uv)
    unfinished.touch()
    # If one part fails, others may have changed packages already.
    (folder / lock.name).unlink(missing_ok=True)
    torch, *rest = parts(lock.read_text(encoding="utf-8"), 1 if uv else AT_ONCE)
    print(f"Installing the packages of {lock.name} with {'uv' if uv else 'pip'}, once ...", flush=True)
    try:
        with ThreadPoolExecutor(len(rest) + 1) as pool:
            installed = [
                pool.submit(_install_locked, python, uv, part, f"part-{number}.lock")
                for number, part in enumerate(rest, start=1)
            ]
            if torch:
                installed.append(pool.submit(_install_torch, python, uv, torch))
        for part in installed:
            part.result()
        if kit:
            _run([*_installer(python, uv), "--no-deps", "--no-build-isolation", "-e", "."])
    except SetupError:
        unfinished.unlink()  # every package is whole: the installers fail before they copy files
        raise
    shutil.copyfile(lock, folder / lock.name)
    unfinished.unlink()
    print("The environment is ready.")


def parts(lock: str, number: int) -> list[str]:
    """The lock in parts: torch with what only its default build needs, and `number` parts with the rest."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    torch = [block for block in blocks if block.startswith(("torch==", *CUDA))]
    others = [block for block in blocks if block not in torch]
    return ["".join(torch), *("".join(others[first::number]) for first in range(number))]


def has_nvidia() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver."""
    return bool(shutil.which("nvidia-smi")) or any(map(os.path.exists, _DRIVER))


def _works(python: Path) -> bool:
    """Whether the environment has a supported Python with pip: its own may be gone, or older."""
    check = "import sys, pip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))"
    try:
        return subprocess.run([python, "-I", "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False


def _create(folder: Path, uv: str | None) -> None:
    if not uv:
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError:
            package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            raise SetupError(
                f"{sys.executable} lacks the module venv or ensurepip, which make an environment. "
                f"Install the package {package} (Debian, Ubuntu) or uv, and run the same command again."
            ) from None
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    else:  # with pip, which installs the package of smollm2 when that model is first used
        _run([uv, "venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(folder)])


def _install_torch(python: Path, uv: str | None, locked: str) -> None:
    pin = re.search(r"^torch==(\S+)", locked, re.MULTILINE)
    assert pin is not None
    exact, backend = f"torch=={pin[1]}", os.environ.get("UV_TORCH_BACKEND", "cpu")
    if (installed := _torch_of(python)).split("+")[0] == pin[1]:
        print(f"Keeping torch {installed}.", flush=True)
        return
    if sys.platform == "linux" and (backend != "cpu" or not has_nvidia()):
        print(f"Installing torch {pin[1]}, the CPU build if an index has it ...", flush=True)
        # The rest of the lock has all that a CPU build needs; other builds bring packages of their own.
        alone = ["--no-deps"] if backend == "cpu" else []
        if uv and _succeeds([*_installer(python, uv), *alone, f"--torch-backend={backend}", exact]):
            return
        offered = _offered(python, exact)
        if "+cpu" in offered:
            _run([*_installer(python, None), "--no-deps", exact])
            return
        if offered:
            print("No index has the CPU build. The default build is installed: 2.7 GB with CUDA.", flush=True)
    _install_locked(python, uv, locked, "torch.lock")


def _install_locked(python: Path, uv: str | None, locked: str, name: str) -> None:
    """Install a part of the lock, which the installer reads from the file `name` in the environment.

    It names every package, so none is searched for.
    """
    file = python.parents[1] / name
    file.write_text(locked, encoding="utf-8")
    _run([*_installer(python, uv), "--no-deps", "--require-hashes", "-r", str(file)])
    file.unlink()


def _installer(python: Path, uv: str | None) -> list[str]:
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    return [*pip, "--no-warn-script-location", "--root-user-action=ignore"]


def _torch_of(python: Path) -> str:
    """The version of torch in the environment, or an empty string."""
    ask = (
        "from importlib import metadata as m; print(*[d.version for d in m.distributions(name='torch')][:1])"
    )
    return subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True).stdout.strip()


def _offered(python: Path, exact: str) -> str:
    """The version with its build, such as 2.13.0+cpu, that pip would install; an empty string if none."""
    ask = [*_installer(python, None), "--no-deps", "--dry-run", "--ignore-installed", "--report", "-", exact]
    done = subprocess.run(ask, capture_output=True, text=True, env=_environment())
    found = json.loads(done.stdout)["install"] if done.returncode == 0 else []
    return found[0]["metadata"]["version"] if found else ""


def _run(command: list[str]) -> None:
    """Run an installer. Raises SetupError with its reason."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=_environment())
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = (
            [line for line in lines if line.lower().startswith("error")] or lines or ["it gave no reason"]
        )
        reason = re.sub(r"^(ERROR|error):\s*", "", errors[-1]).rstrip(".")
        raise SetupError(
            f"The packages could not be installed: {reason}. Set-up needs a package index, and 2 to 6 GB of "
            "disk; run the same command again when it has them."
        )


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, env=_environment()).returncode == 0


def _environment() -> dict[str, str]:
    """The environment of the installers; their caches are in .cache/ if the home folder is not writable."""
    found = {"PIP_RETRIES": "2", "PIP_CACHE_DIR": ".cache/pip", "UV_CACHE_DIR": ".cache/uv"}
    if os.access(os.path.expanduser("~"), os.W_OK):
        found = {"PIP_RETRIES": "2"}
    return found | dict(os.environ)


if __name__ == "__main__":
    sys.exit(main())
