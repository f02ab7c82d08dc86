"""What takes longest goes first, so that nothing is left for one worker alone at the end.

`pytest -m device` is the list of tests for a machine with a GPU: all that load a model (docs/gpu.md).
"""

import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads of several processes hinder each other

LONGEST = "test_notebooks.py"  # its notebooks run one after the other
#: The files that take longest, in the order in which they begin.
LONG = [
    LONGEST,
    "test_paper_profile.py",
    "test_invariance.py",
    "test_sepo.py",
    "test_endings.py",
    "test_jobs.py",
]
#: Folders and files with the tests that run models. They run on a CPU as well.
ON_DEVICE = ("play", "training", "measure", "studies/test_gradient.py", "bench")
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Begin with the longest files; mark what runs models."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    for item in items:
        inside = (item.path.is_relative_to(TESTS / name) for name in ON_DEVICE)
        if any(inside) or item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.device)


def pytest_collection_finish(session):
    """Hide what is imported from the garbage collector, which accelerate calls after each training."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    """Skip what needs CUDA where there is none. A worker with any other file than the notebooks gives way to
    them where both want the processor."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU with CUDA")
    if item.path.name != LONGEST and "PYTEST_XDIST_WORKER" in os.environ and not os.nice(0):
        os.nice(5)
