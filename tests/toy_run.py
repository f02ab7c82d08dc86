"""`python -m sepo_lib` whose only notebook is the toy that tests/run/test_endings.py writes; no report."""

import sys
from types import SimpleNamespace

from sepo_lib import __main__ as cli
from sepo_lib import report
from sepo_lib.config import paths

if __name__ == "__main__":
    paths.NOTEBOOKS = ("00_toy",)
    report.html_page = sys.modules["sepo_lib.report.html_page"] = SimpleNamespace(build=lambda profile: None)
    sys.exit(cli.main(sys.argv[1:]))
