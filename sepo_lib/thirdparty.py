"""Players of the Axelrod library, without the import of all of it."""

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

# The held-out opponents of the prisoner's dilemma, as name=module.Class. They are chosen so that no two
# deterministic ones play the same against every sequence of 8 actions, and none plays as an opponent of
# another pool does. None inspects or manipulates its opponent, and none is slow. The last seven are
# stochastic.
_SHIFT = """
adaptive=adaptive.Adaptive aggravater=grudger.Aggravater anti_tit_for_tat=titfortat.AntiTitForTat
bully=titfortat.Bully cycler_ccd=cycler.CyclerCCD cycler_ddc=cycler.CyclerDDC
delayed_aon1=memorytwo.DelayedAON1 doubler=doubler.Doubler downing=axelrod_first.FirstByDowning
downing_revised=revised_downing.RevisedDowning fool_me_once=oncebitten.FoolMeOnce
fortress3=finite_state_machines.Fortress3 go_by_majority=gobymajority.GoByMajority
hard_go_by_majority=gobymajority.HardGoByMajority gradual=titfortat.Gradual
grudger_alternator=grudger.GrudgerAlternator hard_prober=prober.HardProber
hard_tit_for_tat=titfortat.HardTitForTat hard_tit_for_two_tats=titfortat.HardTitFor2Tats
nydegger=axelrod_first.FirstByNydegger omega_tit_for_tat=titfortat.OmegaTFT once_bitten=oncebitten.OnceBitten
opposite_grudger=grudger.OppositeGrudger prober=prober.Prober prober2=prober.Prober2 prober3=prober.Prober3
ripoff=finite_state_machines.Ripoff shubik=axelrod_first.FirstByShubik
sneaky_tit_for_tat=titfortat.SneakyTitForTat soft_grudger=grudger.SoftGrudger
spiteful_tit_for_tat=titfortat.SpitefulTitForTat suspicious_tit_for_tat=titfortat.SuspiciousTitForTat
thue_morse=sequence_player.ThueMorse two_tits_for_tat=titfortat.TwoTitsForTat
win_shift_lose_stay=memoryone.WinShiftLoseStay win_stay_lose_shift=memoryone.WinStayLoseShift
firm_but_fair=memoryone.FirmButFair joss=axelrod_first.FirstByJoss naive_prober=prober.NaiveProber
random_tit_for_tat=titfortat.RandomTitForTat stochastic_win_stay_lose_shift=memoryone.StochasticWSLS
willing=mutual.Willing zd_extort2=zero_determinant.ZDExtort2
"""
#: Name of the opponent -> strategy of `AxelrodPlayer`.
SHIFT_STRATEGIES = dict(pair.split("=") for pair in _SHIFT.split())

_AXELROD: dict[str, ModuleType] = {}  # the imported modules of the library, by name


class AxelrodPlayer:
    """One player in a match of `length` rounds, with the `strategy` "module.Class" made with `options`.

    `words` are the names of cooperation and defection. Raises what `axelrod_class` raises.
    """

    def __init__(self, strategy: str, words: Sequence[str], length: int, seed: int, **options: float):
        action = axelrod_class("action.Action")
        self._moves = dict(zip(words, (action.C, action.D), strict=True))
        self._words = {move: word for word, move in self._moves.items()}
        self._player = axelrod_class(f"strategies.{strategy}")(**options)
        self._other = axelrod_class("player.Player")()
        self._player.set_match_attributes(length=length)
        self._player.set_seed(seed)
        self._strategy, self._due = strategy, 0

    def act(self, number: int, own: Sequence[str], other: Sequence[str]) -> str:
        """The action in round `number` (from 0), given both players' actions of the rounds before it.

        Raises ValueError unless it is asked exactly once a round.
        """
        if number != self._due:
            raise ValueError(f"{self._strategy} was asked for round {number} when round {self._due} was due.")
        self._due += 1
        for mine, theirs in zip(own[-1:], other[-1:], strict=True):
            self._player.update_history(self._moves[mine], self._moves[theirs])
            self._other.update_history(self._moves[theirs], self._moves[mine])
        return self._words[self._player.strategy(self._other)]


@functools.cache
def axelrod_class(name: str) -> Any:
    """A class of the Axelrod library, named "module.Class" such as "strategies.titfortat.TitForTat".

    Raises ModuleNotFoundError or AttributeError for a name that the library does not have.
    """
    module, _, cls = name.rpartition(".")
    with axelrod_modules():
        return getattr(importlib.import_module(f"axelrod.{module}"), cls)


@contextlib.contextmanager
def axelrod_modules() -> Iterator[None]:
    """Make single modules of the Axelrod library importable, without `import axelrod`.

    `import axelrod` takes 14 seconds, because it makes every strategy of the library many times over. The
    modules that the kit uses need 0.1 seconds. They are imported below two packages whose `__init__` has not
    run. `sys.modules` is restored afterwards, so that `import axelrod` elsewhere gives the whole library.
    """

    def take_out() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "axelrod"]
        return {name: sys.modules.pop(name) for name in names}

    outside = take_out()
    try:
        if not _AXELROD:
            for package in ("axelrod", "axelrod.strategies"):
                spec = importlib.util.find_spec(package)
                assert spec is not None  # the kit's requirements name the library
                sys.modules[package] = importlib.util.module_from_spec(spec)
            # The two names that the library's modules import from the package itself.
            root, random = sys.modules["axelrod"], importlib.import_module("axelrod.random_")
            root.Action = importlib.import_module("axelrod.action").Action  # type: ignore[attr-defined]
            root._module_random = random.RandomGenerator()  # type: ignore[attr-defined]
        sys.modules.update(_AXELROD)
        yield
    finally:
        _AXELROD.update(take_out())
        sys.modules.update(outside)
