"""The arguments of the jobs with a language model. All values are JSON-able.

This module imports no library, so that the jobs of a run can be listed in a moment.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PolicyJob:
    """The arguments of every job that plays with a language model. All values are JSON-able."""

    sampling: dict
    """Arguments of `load_policy`: number format, temperature, longest answer, engine."""
    evaluation: dict
    """Sizes of the evaluation: episodes by game, shift_episodes, and how Kuhn's strategy is read."""
    labels: dict
    """Columns of every row that the job writes: profile, model, stage, arm, preset, seed, step, and more."""
    weights: dict = field(default_factory=dict)
    """Game -> weights of J in the place of the game's own (`games.get`); only games in which they differ."""


@dataclass(frozen=True, kw_only=True)
class BaseJob(PolicyJob):
    """The arguments of `run_base`."""

    model: str
    """The name of the model."""
    model_sha256: str
    """Hash of its content (`model_files`), so that another model with the same name is another job."""
    evaluated_on: list
    """Pairs (game, pool set)."""


@dataclass(frozen=True, kw_only=True)
class SFTJob(BaseJob):
    """The arguments of `run_sft`."""

    data: str
    """The folder of the demonstrations, from the root; or the file or folder of a user's examples."""
    data_sha256: dict
    """Game -> hash of its demonstrations; or file -> hash of a user's examples."""
    own_data: bool | None = None
    """Whether the examples are a user's (`sft_data`); None: they are the kit's demonstrations."""
    mixture: dict | None = None
    """Arguments of `demonstration_files.mixed` (game, strategies, share); None: the demonstrations as they
    are."""
    train: dict
    """Fields of `sepo_lib.training.sft.SFTSettings`."""


@dataclass(frozen=True, kw_only=True)
class TransferJob(PolicyJob):
    """The arguments of `run_transfer`."""

    trained_job: str
    """The job whose model plays."""
    trained_work: str
    """`Job.work` of that job, so that another model makes this another job."""
    evaluated_on: list
    """Pairs (game, pool set)."""


@dataclass(frozen=True, kw_only=True)
class SEPOJob(PolicyJob):
    """The arguments of `run_sepo`."""

    sft_job: str
    """The job whose model the training starts from."""
    sft_work: str
    """`Job.work` of that job, so that another SFT model makes this another job."""
    game: str
    pools: str
    """The pool set that is trained on and evaluated against."""
    preset: str
    arm: str
    """The arm in the place of the preset's own."""
    baseline: str | None = None
    """The baseline in the place of the preset's own."""
    train: dict
    """Fields of `sepo_lib.training.sepo.SEPOConfig`."""
    train_weights: list | None = None
    """le, lc, lx in training alone (exploiter study and sweep); None: those of the game or of `weights`."""
    exploiter: dict | None = None
    """Arguments of `BestResponse`; None: the exploiter pool."""
    also: list | None = None
    """Fields of `sepo.Batch` of further games, each by the name of the game: every step plays all games."""
    last_samples: int | None = None
    """Answers at every information set after the last step; None: as many as at the other checkpoints."""
    evaluate_start: bool | None = None
    """Whether the SFT model is evaluated as well, with this job's sampling; its rows have the step 0."""
    tables_only: bool | None = None
    """Whether the finished job keeps only its tables: no model, no checkpoints and no episodes."""
    same_as: dict | None = None
    """A job whose results are copied if it trains the same model: its `name`, `work`, and `proven`.

    If `proven`, the two estimators are equal in this game. Otherwise the other job is that of the arm
    reward_only, and its log must show that `constant` had the same advantages in every batch."""
