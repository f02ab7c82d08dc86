"""The order of the tests."""


def pytest_collection_modifyitems(items):
    """The notebooks first: with two workers nothing is then left for one of them alone at the end."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
