"""The hyperparameters of one run as a typed dataclass.

What each field means, what the paper says about it and why the kit's values are what they are stands in
`profiles.yaml`, once. `profiles.load` reads the values from there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sepo_lib import games
from sepo_lib.config import files
from sepo_lib.config.errors import DamagedError, InputError
from sepo_lib.config.root import shown
from sepo_lib.config.text import in_brief

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

#: The models that have a name. Any other model is a folder or a hub id.
MODELS = ("nano", "smollm2")

T = TypeVar("T")
#: One value, or one value per game (or stage); the key `others` holds the value of those that are not listed.
PerKey: TypeAlias = T | Mapping[str, T]
#: Game -> the weights of J in that game: exploit (le), collusion (lc), externality (lx).
GameWeights = Mapping[str, Mapping[str, float]]


#: What the block of a hyperparameter in `profiles.yaml` may hold.
ENTRIES = ("meaning", "paper", "why", "default", "by_model", "by_profile", "choices", "range")
_RESTORE = "correct it, or run `git restore sepo_lib/config/profiles.yaml`"


@cache
def document() -> dict[str, Any]:
    """The content of `profiles.yaml`.

    Raises InputError for an entry or a profile that does not exist, DamagedError for a damaged file.
    """
    file = Path(__file__).with_name("profiles.yaml")
    content = files.read_yaml(file, _RESTORE, ("profiles", "hyperparameters"))
    for name, block in (content["hyperparameters"] or {}).items():
        if not isinstance(block, dict) or "default" not in block:
            raise DamagedError(f"{shown(file)} is damaged: {name} has no default; {_RESTORE}.")
        for entry in block:
            known(f"entry of {name} in profiles.yaml called", entry, ENTRIES)
        for profile in block.get("by_profile", {}):
            known(f"profile for by_profile of {name} called", profile, content["profiles"])
    needed = [field.name for field in fields(Settings)[3:]]
    if missing := [name for name in needed if name not in (content["hyperparameters"] or {})]:
        raise DamagedError(f"{shown(file)} is damaged: it lacks '{missing[0]}'; {_RESTORE}.")
    return content


def hyperparameters() -> dict[str, dict[str, Any]]:
    """The block of each hyperparameter in `profiles.yaml` by name, in the order of the file."""
    return document()["hyperparameters"]


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of one run. The fields have the names and the order of `profiles.yaml`."""

    profile: str
    run: str
    """The name of the run: its folder in runs/, data/results/ and figures/. It changes no number."""
    changes: Mapping[str, Any]
    """The hyperparameters that were chosen by name (SET of make) -> their values."""

    # What is run
    model: str
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    variation_seeds: int | None
    workers: int
    threads: int
    dtype: str
    train_weights: GameWeights
    evaluation_weights: GameWeights

    # Adapters
    full_finetuning: bool
    lora_rank: int
    lora_alpha: int
    lora_dropout: PerKey[float]

    # Base model and supervised fine-tuning
    demonstrations_per_game: int
    demonstrations_seed: int
    rebuild_base: bool
    pretrain_steps: int
    sft_games: tuple[str, ...]
    sft_data: str | None
    sft_steps: int | None
    sft_epochs: int
    sft_batch: int
    sft_learning_rate: float
    sft_max_length: int
    sft_checkpoint_every: int

    # SEPO (GRPO)
    preset: str
    arm: str
    pools: PerKey[str]
    compare_with: tuple[str, ...]
    sepo_steps: PerKey[int]
    rollouts_per_opponent: PerKey[int]
    baseline: PerKey[str]
    answers_per_set: int
    sepo_learning_rate: PerKey[float]
    learning_rate_floor: PerKey[float]
    kl_beta: PerKey[float]
    clip: float
    max_grad_norm: float
    temperature: float
    max_new_tokens: int
    engine: str
    vllm_memory: float
    vllm_sleep: bool
    micro_batches: int | None
    gradient_checkpointing: str
    checkpoint_every: PerKey[int]

    # Evaluation
    evaluation_episodes: PerKey[int]
    shift_episodes: int
    keep_episodes: bool
    information_set_samples: int
    enumeration_mass: float | None
    enumeration_nodes: int

    # Best-response exploiter
    exploiter: PerKey[str]
    exploiter_refresh: int
    exploiter_samples: int
    exploiters: tuple[str, ...]
    exploiter_baselines: tuple[str, ...]
    exploiter_game: str
    exploiter_steps: int
    exploiter_group_steps: int
    exploiter_rollouts: int
    exploiter_kl_beta: float
    exploiter_learning_rate: float
    exploiter_learning_rate_floor: float
    exploiter_last_samples: int

    # Ablation
    ablation_games: tuple[str, ...]
    ablation_arms: tuple[str, ...]
    ablation_presets: tuple[str, ...]
    ablation_recipes: tuple[str, ...]
    ablation_horizon: bool
    ablation_pools: tuple[str, ...]
    ablation_steps: PerKey[int]
    ablation_rollouts: PerKey[int]
    copy_equal_runs: bool
    keep_variations: bool
    switches: tuple[str, ...]
    switch_game: str
    gradient_batches: int
    sweep_exploit_weights: tuple[float, ...]
    sweep_games: tuple[str, ...]

    # What carries over
    transfer: bool
    all_games_steps: PerKey[int]

    # Replication of the authors' result
    replication_shares: tuple[float, ...]
    replication_strategies: tuple[str, ...]
    replication_game: str
    replication_presets: tuple[str, ...]
    replication_steps: PerKey[int]
    replication_top_p: float | None

    # Estimators without a model
    study_games: tuple[str, ...]
    estimator_groups: int
    estimator_group_sizes: tuple[int, ...]
    headroom_episodes: int

    def of(self, name: str, key: str) -> Any:
        """The value of hyperparameter `name` for the game (or stage) `key`.

        Raises InputError with the valid choices if there is none.
        """
        known("hyperparameter", name, hyperparameters())
        value = getattr(self, name)
        if not isinstance(value, Mapping):
            return value
        if key not in value and "others" not in value:
            known(f"key of {name}", key, value)
        return value.get(key, value.get("others"))

    def changed_weights(self, game: str) -> dict[str, dict[str, float]]:
        """The weights of J that this run changes in `game`, as the argument `weights` of `games.get`.

        "train" and "evaluation" -> all three weights. A kind with the game's own weights is left out.
        """
        kinds = {"train": self.train_weights[game], "evaluation": self.evaluation_weights[game]}
        own = own_weights(game)
        return {kind: dict(weights) for kind, weights in kinds.items() if weights != own[kind]}

    def as_dict(self) -> dict[str, Any]:
        """The profile and all hyperparameters as JSON-able data, without the name of the run."""
        return {name: plain(getattr(self, name)) for name in ("profile", *hyperparameters())}

    def table(self, *names: str) -> "Styler":
        """The value of each named hyperparameter beside its meaning and what the paper says, for display.

        Raises InputError for an unknown name.
        """
        import pandas as pd

        blocks = hyperparameters()
        for name in names:
            known("hyperparameter", name, blocks)
        rows = {n: (spell(getattr(self, n)), blocks[n]["meaning"], blocks[n]["paper"]) for n in names}
        columns = [self.profile, "meaning", "the paper says"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        left = {"selector": "th", "props": "text-align: left"}
        return (
            table.style.set_properties(**{"text-align": "left"}).set_table_styles([left]).set_uuid("settings")
        )

    @property
    def summary(self) -> str:
        """What the profile is for, in one or two sentences."""
        return document()["profiles"][self.profile]["summary"]

    @property
    def expected_minutes(self) -> float | None:
        """Minutes that the whole profile takes on two CPU cores; None if that is not known."""
        return document()["profiles"][self.profile]["expected_minutes"]


def own_weights(game: str) -> dict[str, dict[str, float]]:
    """The weights of J that the file of `game` defines: kind ("train", "evaluation") -> name -> weight."""
    rules = games.get(game)
    return {"train": asdict(rules.train_weights), "evaluation": asdict(rules.evaluation_weights)}


def known(kind: str, name: Any, choices: Any) -> None:
    """Raise InputError with the choices if `name` is none of them; `kind` says what it should be."""
    if name not in list(choices):  # a name that is no text may have no hash
        more = ", or name the module of your own game in SEPO_GAMES" if kind == "game" else ""
        raise InputError(
            f"There is no {kind} '{in_brief(name)}'; choose from {', '.join(map(str, choices))}{more}."
        )


def frozen(value: Any) -> Any:
    """A copy of lists and mappings that cannot be changed."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(one) for key, one in value.items()})
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """`frozen` undone: lists and dicts, which JSON can hold."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def spell(value: Any) -> str:
    """A value as people read it: `8; kuhn 48`, `ipd, kuhn`, `yes`, `-` for none."""
    if isinstance(value, Mapping):
        rest = [
            f"{key} ({spell(one)})" if isinstance(one, Mapping) else f"{key} {spell(one)}"
            for key, one in value.items()
            if key != "others"
        ]
        return "; ".join(([spell(value["others"])] if "others" in value else []) + rest)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == () or value == []:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(spell, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
