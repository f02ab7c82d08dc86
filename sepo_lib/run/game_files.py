"""A game in a file of its own: `load` runs the file and registers the game, again after every edit.

Processes that start later, such as those that train, know the game too. The jobs of a game that was edited
run again, because the hash of its file is a part of their fingerprint.
"""

import hashlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from sepo_lib import games
from sepo_lib.config import files, paths
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.games import registry
from sepo_lib.games.base import Game
from sepo_lib.run import code

_LOADED: dict[str, tuple[Path, str]] = {}  # module -> the file that was loaded, and its sha256 at that time
_HELPERS: dict[str, dict[str, str]] = {}  # module -> the modules beside its file that it imports, and sha256


def load(file: str | Path) -> Game:
    """Run the file of a game and return the game that it registers.

    If the file, or one of the same name, was loaded before, this version replaces the earlier one. Games that
    inherit from a game of the earlier version are forgotten; load their files again. Raises MissingError if
    there is no such file, and InputError, one sentence, for an error in the file and for a file that does
    not register exactly one game.
    """
    file = Path(file).resolve()
    module = _module_of(file)
    source = file.read_bytes()
    _forget(module)
    before = set(games.GAMES)
    try:
        _make_importable(file)
        _run(file, module, source)
        new = [name for name in games.GAMES if name not in before]
        if len(new) != 1:
            found = f"registers {len(new)} games ({', '.join(new)})" if new else "registers no game"
            raise InputError(f"{file.name} {found}; let it call `games.register` for one game, at its end.")
    except BaseException:
        for name in set(games.GAMES) - before:
            del games.GAMES[name]
        _forget(module)
        raise
    return games.get(new[0])


def hashes(text: str | None = None) -> dict[str, str]:
    """Module -> sha256 of its file, for the games of users that are named in `text` (JSON; None: all games).

    The file of a game from which another one inherits counts too, and so do the modules that a file imports
    from its own folder. Raises InputError if a file has changed
    since it was loaded: the game of this process is then another one than that of later processes.
    """
    named = [game for name, game in games.GAMES.items() if text is None or json.dumps(name) in text]
    found = {}
    for module in dict.fromkeys(module for game in named for module in _modules(game)):
        file = Path(inspect.getfile(sys.modules[module]))
        found[module] = files.sha256(file)
        if module in _LOADED and _LOADED[module] != (file, found[module]):
            raise InputError(f"{paths.shown(file)} has changed since it was loaded; load it again.")
        beside = _helpers(module)
        for helper, before in _HELPERS.get(module, {}).items():
            if beside.get(helper, before) != before:
                where = paths.shown(Path(inspect.getfile(sys.modules[helper])))
                raise InputError(f"{where} has changed since {file.name} was loaded; load {file.name} again.")
        found |= beside
    return found


def _module_of(file: Path) -> str:
    """The name under which other processes import `file`. Raises as `load` does."""
    if not file.is_file():
        raise MissingError(f"There is no file {paths.shown(file)}; write the game into it first.")
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise InputError(
            f"The file of a game cannot be called '{file.name}'; choose a name such as 'my_game.py', of "
            "letters, digits and _."
        )
    if file.stem not in [*_LOADED, *_named_modules()]:
        spec = importlib.util.find_spec(file.stem)
        if spec is not None and spec.origin != str(file):
            raise InputError(
                f"Python has a module called '{file.stem}' already; give the file of the game another name."
            )
    return file.stem


def _run(file: Path, module: str, source: bytes) -> None:
    """Run the file as this module. It is compiled here, because Python may cache an earlier version."""
    made = importlib.util.module_from_spec(importlib.util.spec_from_file_location(module, file))
    sys.modules[module] = made
    _LOADED[module] = (file, hashlib.sha256(source).hexdigest())
    for helper in _HELPERS.pop(module, {}):  # they may have changed, too
        if helper in sys.modules:
            _forget_compiled(Path(inspect.getfile(sys.modules.pop(helper))))
    try:
        exec(compile(source, str(file), "exec"), vars(made))
    except Exception as error:
        raise InputError(_sentence(file, error)) from error
    _HELPERS[module] = _helpers(module)
    _name_modules([*_named_modules(), module])


def _sentence(file: Path, error: Exception) -> str:
    """What is wrong in the file, in one sentence."""
    frames = traceback.extract_tb(error.__traceback__)
    if frames[-1].filename == registry.__file__:
        return str(error)  # the registry has said it
    text = str(error).partition("\n")[0].rstrip(".")
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(file)), None)
    if isinstance(error, SyntaxError):
        line, text = error.lineno, error.msg
    return (
        f"{file.name} stops in line {line} with {type(error).__name__}: {text}; correct the file and load it "
        "again."
    )


def _forget(module: str) -> None:
    """Undo `load` of this module, and remove the games that inherit from one of it."""
    gone = [game for game in games.GAMES.values() if module in _modules(game)]
    for game in gone:
        del games.GAMES[game.name]
    modules = {module, *(type(game).__module__ for game in gone)}
    _name_modules([name for name in _named_modules() if name not in modules])
    if module in _LOADED:
        del _LOADED[module], sys.modules[module]


def _make_importable(file: Path) -> None:
    """Let this process and later ones import modules from the folder of the file, before any other folder."""
    folder = str(file.parent)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    known = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([folder, *known]))
    _forget_compiled(file)
    importlib.invalidate_caches()


def _forget_compiled(file: Path) -> None:
    """Python takes a compiled file for current if its source has the same second and size as before."""
    Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)


def _named_modules() -> list[str]:
    return [name for name in os.environ.get(registry.MODULES, "").split(",") if name]


def _name_modules(names: Sequence[str]) -> None:
    """Name the modules that later processes import when they import `sepo_lib.games`."""
    os.environ[registry.MODULES] = ",".join(dict.fromkeys(names))


def _modules(game: Game) -> list[str]:
    """The modules of the class of a game and of the classes that it inherits from, without the kit's."""
    modules = [cls.__module__ for cls in type(game).__mro__]
    return [name for name in modules if name != "builtins" and name.partition(".")[0] != "sepo_lib"]


def _helpers(module: str) -> dict[str, str]:
    """Module -> sha256 of its file, for all that `module` imports from the folder of its file, also through
    others. The files of other games are left out."""
    folder, known = Path(inspect.getfile(sys.modules[module])).parent, {module, *_named_modules()}
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        source = Path(inspect.getfile(sys.modules[waiting.pop()])).read_bytes()
        for name in code.imports(source):
            file = getattr(sys.modules.get(name), "__file__", None)
            if name not in known | found.keys() and file and Path(file).parent == folder:
                found[name] = files.sha256(Path(file))
                waiting.append(name)
    return found
