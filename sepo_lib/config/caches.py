"""Folders in which libraries keep settings and caches, if the home folder cannot be written.

Without them Jupyter starts no kernel, and other libraries warn or fail. The folders are in `.cache/home` of
the kit, or in the system's folder for temporary files if the kit cannot be written either.

    python -m sepo_lib.config.caches jupyterlab ...     runs `python -m jupyterlab ...` with these folders
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from sepo_lib.config import disk
from sepo_lib.config.root import root

#: Environment variable -> the folder below the home folder that it replaces.
FOLDERS = {
    "IPYTHONDIR": ".ipython",
    "JUPYTER_CONFIG_DIR": ".jupyter",
    "JUPYTER_DATA_DIR": ".local/share/jupyter",
    "JUPYTER_RUNTIME_DIR": ".local/share/jupyter/runtime",
    "MPLCONFIGDIR": ".config/matplotlib",
    "HF_HOME": ".cache/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": ".cache/torch",
}


def use_writable() -> None:
    """Set the variables of FOLDERS whose folder cannot be written, for this process and those that it starts.

    Call it before the libraries are imported. HF_HOME keeps a folder that can be read: it may hold models.
    """
    home = Path(os.path.expanduser("~"))  # stays "~" for an unknown user without HOME
    for name, below in FOLDERS.items():
        wanted = Path(os.environ.get(name) or home / below)
        if not _writable(wanted) and not (name == "HF_HOME" and os.access(wanted / "hub", os.R_OK)):
            spare = _spare() / name.lower()
            with contextlib.suppress(OSError):  # on a full disk the libraries do without it
                spare.mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(spare)


def _spare() -> Path:
    kit = root() / ".cache" / "home"
    if _writable(kit):
        return kit
    return Path(tempfile.gettempdir(), f"sepo-{os.getuid()}")


def _writable(folder: Path) -> bool:
    """Whether `folder` can be written, or made where there is none."""
    with contextlib.suppress(OSError):
        disk.check_writable([folder])
        return folder.is_absolute()
    return False


if __name__ == "__main__":
    use_writable()
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
