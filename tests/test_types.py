"""The types of the library. mypy is a test, so that it runs beside others and not before them."""

import subprocess
import sys
from pathlib import Path


def test_mypy_finds_nothing():
    here = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
