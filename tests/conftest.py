"""What takes longest goes first, so that nothing is left for one worker alone at the end."""

import os

LONGEST = "test_notebooks.py"  # its notebooks run one after the other


def pytest_collection_modifyitems(items):
    """Begin with the notebooks."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_runtest_setup(item):
    """A worker with any other file gives way to them where both want the processor."""
    if item.path.name != LONGEST and "PYTEST_XDIST_WORKER" in os.environ and not os.nice(0):
        os.nice(5)
