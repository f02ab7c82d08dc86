"""Copies the outputs of executed notebooks into the notebooks in git, without traces of the machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sepo_lib.config import files, paths
from sepo_lib.run import provenance

#: Of widgets such as progress bars, which show nothing without their kernel.
_WIDGET = "application/vnd.jupyter.widget-view+json"


def publish_run(profile: str) -> list[str]:
    """Write the outputs of a run into the notebooks in git and return their names.

    Writes all of them, or none if one is refused (`publish`). Raises ValueError if the report of the run
    shows a folder of the machine, FileNotFoundError without executed notebooks.
    """
    import nbformat

    runs = sorted(paths.executed(profile).glob("*.ipynb"))
    if not runs:
        raise FileNotFoundError(
            f"{paths.relative(paths.executed(profile))}/ is empty; run `make reproduce PROFILE={profile}`."
        )
    again = f"run `make reproduce PROFILE={profile}` again"
    published = {file.stem: publish(file.stem, _notebook(file, again)) for file in runs}
    page = paths.report(profile)
    if page.exists() and (found := provenance.traces(page.read_text(encoding="utf-8"))):
        raise ValueError(f"{paths.relative(page)} shows folders of a machine ({found[0]}); build it again.")
    for name, notebook in published.items():
        paths.replace_text(paths.notebook(name), nbformat.writes(notebook) + "\n")
    return list(published)


def publish(name: str, executed: Any) -> Any:
    """The notebook `name` in git with the outputs of `executed`, whose cells are counted 1..N.

    Raises FileNotFoundError if git has no such notebook. Raises ValueError if the executed notebook failed,
    did not finish, or has other source cells, and if an output is on stderr or shows a folder of a machine.
    """
    again = f"run it again before publishing {name}"
    if not paths.notebook(name).exists():
        raise FileNotFoundError(
            f"There is no {paths.relative(paths.notebook(name))} to write the outputs into; "
            "restore it with git."
        )
    notebook = _notebook(paths.notebook(name), paths.RESTORE_NOTEBOOKS)
    cells = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if any(out.output_type == "error" for cell in cells for out in cell.get("outputs", [])):
        raise ValueError(f"The run of {name} ended with an error; {again}.")
    if [(c.cell_type, c.source) for c in cells] != [(c.cell_type, c.source) for c in notebook.cells]:
        raise ValueError(f"The cells of {name} have changed since the run; {again}.")
    notebook.metadata.pop("papermill", None)
    pairs = [(cell, ran) for cell, ran in zip(notebook.cells, cells, strict=True) if cell.cell_type == "code"]
    for count, (cell, ran) in enumerate(pairs, start=1):
        if ran.execution_count is None and ran.source.strip():
            raise ValueError(f"The run of {name} did not reach its end; {again}.")
        cell.execution_count = count
        cell.outputs = [output for output in ran.outputs if _WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
        cell.metadata = {key: v for key, v in cell.metadata.items() if key not in ("papermill", "execution")}
        if found := machine_outputs(ran.outputs):
            raise ValueError(f"Cell {count} of {name} shows {found[0]}; correct the cell, and {again}.")
    return notebook


def machine_outputs(outputs: Sequence[Any]) -> list[str]:
    """What the outputs of a cell show of the machine: text on stderr, and folders; often nothing."""
    found = []
    for output in outputs:
        if output.get("name") == "stderr":
            found.append("text on stderr")
        shown = [output.get("text", ""), output.get("traceback", [])]
        shown += [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/p")]
        found += [f"a folder of a machine ({one})" for one in provenance.traces(_plain(shown))]
    return found


def _notebook(file: Path, remedy: str) -> Any:
    import nbformat

    with files.reading(file, remedy, "it is no notebook"):
        return nbformat.read(file, as_version=4)


def _plain(value: Any) -> str:
    """All text in an output, from nested lists and mappings."""
    if isinstance(value, str):
        return value
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return "\n".join(map(_plain, values))
