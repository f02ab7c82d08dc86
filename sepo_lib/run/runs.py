"""Which runs there are, and which of them a command means.

A run is known by its manifest, or by its tables if it was stepped through by hand. `profiles.run_name` makes
the names of new runs.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.config.changes import OPTIONS
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.config.settings import plain, spell
from sepo_lib.run import provenance


def names() -> list[str]:
    """Every run with a manifest, executed notebooks, jobs or tables, in the order of the alphabet."""
    found = set()
    for folder in (paths.run(""), paths.results("")):
        for above in (folder, folder / profiles.BY_HAND):
            if above.is_dir():
                found |= {one.relative_to(folder).as_posix() for one in above.iterdir() if one.is_dir()}
    return sorted(found - set(profiles.TAKEN))


def find(run: str | None, profile: str | None) -> str:
    """The name of an existing run: `run`, or that of the `profile` (by default laptop) as it is.

    Raises InputError for an unknown profile and if the run was made with another profile, MissingError
    listing the runs if there is no such run.
    """
    if not run:
        run = profiles.load(profile or profiles.DEFAULT, by_hand=False).run
    if run not in names():
        there = f"the runs are {', '.join(names())}" if names() else "there is none yet"
        remedy = f"; `make reproduce PROFILE={run}` makes it" if run in profiles.names() else ""
        raise MissingError(f"There is no run '{run}': {there}{remedy}.")
    made = profile_of(run)
    if profile and made and profile != made:
        raise InputError(
            f"The run '{run}' was made with the profile {made}, not with {profile}; leave out the profile."
        )
    return run


def profile_of(run: str) -> str | None:
    """The profile in the manifest of a run; None without a manifest."""
    return provenance.read(run, missing_ok=True).get("profile")


def settings(
    run: str | None, profile: str | None, changes: Mapping[str, Any] | None = None, **given: Any
) -> profiles.Settings:
    """The settings of a command that makes or continues a run; `given` are as in `profiles.load`, and
    `changes` are hyperparameters by name (`changes.parse`); those per game need only the games that change.

    Without a `profile`, it is that of the run if the run exists; and a run whose name was chosen goes on as
    it is if nothing is `given`. Raises InputError as `profiles.load` does, and for the run of notebook 06.
    """
    if run and run.endswith(profiles.OWN_GAME):
        raise InputError(
            f"The run '{run}' belongs to notebook 06; choose a name without {profiles.OWN_GAME}."
        )
    made = run and profile_of(run)
    chosen = changes or any(value not in (None, "") for value in given.values())
    if made and run not in profiles.names() and profile in (None, "", made) and not chosen:
        return recorded(run)
    name = profile or made or profiles.DEFAULT
    given |= profiles.completed(name, given.get("model"), changes or {})
    for key in ("sft_steps", "sepo_steps"):  # of the games that are not named, STEPS counts
        if given.get("steps") not in (None, "") and isinstance((changes or {}).get(key), Mapping):
            given[key] = {"others": given["steps"], **changes[key]}
    found = profiles.load(name, run=run or None, by_hand=False, **given)
    for name, value in (changes or {}).items():
        for game in value if isinstance(value, Mapping) else ():
            if game in games.GAMES and game not in found.games:
                raise InputError(
                    f"SET gives {name}.{game}, but the games of this run are {spell(found.games)}; leave it "
                    f"out, or add {game} to GAMES."
                )
    return found


def parameters(settings: profiles.Settings) -> dict[str, Any]:
    """The parameters with which the notebooks load these settings."""
    own = profiles.overrides(settings)
    found: dict[str, Any] = {"profile": settings.profile, "run": settings.run}
    found |= {key: plain(own.pop(key, None)) for key in OPTIONS}
    both = "sft_steps" in own and "sepo_steps" in own and own["sft_steps"] == own["sepo_steps"]
    steps = own.pop("sft_steps") if both else None
    if both:
        del own["sepo_steps"]
    return found | {"steps": steps, "changes": {key: plain(value) for key, value in own.items()} or None}


def recorded(run: str) -> profiles.Settings:
    """The settings of a run that has a manifest, to go on with the run.

    They are the profile's, but for the model, games, seeds, steps, data and other hyperparameters that the
    run was made with. Raises InputError as `profiles.load` does, if the profile has changed since.
    """
    manifest = provenance.read(run)
    profile, values = manifest["profile"], manifest["settings"]
    if run == profile:  # such a run follows its profile, also in the steps
        kept = {name: values[name] for name in ("model", "games", "seeds")}
        return replace(profiles.load(profile, **kept), run=run)
    kept = {name: values[name] for name in ("model", "games", "seeds", "sft_steps", "sepo_steps")}
    kept["sft_data"] = values.get("sft_data")  # not in older runs
    kept |= manifest.get("changes", {})
    return profiles.load(profile, run=run, **kept)
