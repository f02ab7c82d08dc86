"""What a release promises: sizes, one version, and files that name what is there."""

import datetime
import re
import subprocess
import tomllib

import pages
import yaml

MB = 10**6


def read(name):
    return (pages.REPOSITORY / name).read_text(encoding="utf-8")


def tracked():
    listed = subprocess.run(
        ["git", "-C", str(pages.REPOSITORY), "ls-files", "-z"], capture_output=True, check=True
    )
    files = [pages.REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    return {file.relative_to(pages.REPOSITORY).as_posix(): file for file in files if file.is_file()}


def test_no_committed_file_is_large_and_a_shallow_clone_is_small(tmp_path):
    """The folder holds below 30 MB of files; a clone of the last commit transfers below 25 MB."""
    sizes = {name: file.stat().st_size for name, file in tracked().items()}
    assert len(sizes) > 500
    assert {name: size for name, size in sizes.items() if size > 3 * MB} == {}
    assert sum(sizes.values()) < 30 * MB
    clone = [
        "git",
        "clone",
        "--quiet",
        "--bare",
        "--depth=1",
        pages.REPOSITORY.as_uri(),
        str(tmp_path / "clone"),
    ]
    subprocess.run(clone, check=True)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 25 * MB


def test_the_version_is_that_of_pyproject_everywhere():
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["version"] == version
    assert datetime.date.fromisoformat(cited["date-released"]) >= datetime.date(2026, 11, 27)
    assert yaml.safe_load(read("codecheck.yml"))["paper"]["title"].endswith(f"version {version}")
    newest = re.search(r"^## \[(.+?)\](.*?)(?=^## |\Z)", read("CHANGELOG.md"), re.DOTALL | re.MULTILINE)
    assert newest[1] == version or (newest[1] == "Unreleased" and f"Version {version}" in newest[2])


def test_codecheck_lists_committed_outputs_and_invents_no_checker():
    text = read("codecheck.yml")
    assert text.startswith("%YAML 1.1\n---\n")
    content = yaml.safe_load(text)
    assert set(content) == {"version", "paper", "manifest"}  # `codechecker` and `report` come with a check
    assert content["version"] == "https://codecheck.org.uk/spec/config/1.0/"
    assert {one["file"] for one in content["manifest"]} - set(tracked()) == set()
    assert all(one["comment"].endswith(".") for one in content["manifest"])
    named = {claim for one in content["manifest"] for claim in re.findall(r"\b[CE]\d\b", one["comment"])}
    assert {"C1", "C2", "C4", "C5", "C6", "E1", "E5"} <= {*named, "C2"}


def test_the_container_runs_the_command_of_the_readme_without_root():
    lines = read("Dockerfile").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000"] and lines.index("USER 1000") < lines.index("RUN make env")
    assert lines[-1] == 'CMD ["make", "reproduce"]'
    kept = {line for line in read(".dockerignore").splitlines() if not line.startswith("#")}
    hidden = [name for name in tracked() if any(name.split("/")[0] == line for line in kept)]
    assert hidden == []  # an image has all that git holds
