"""A language model that plays: it renders prompts, samples answers and parses actions."""

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax

from sepo_lib.config import profiles
from sepo_lib.config.profiles import Settings
from sepo_lib.games.base import Game, View
from sepo_lib.method import seeds
from sepo_lib.method.records import Options
from sepo_lib.play import models
from sepo_lib.play.engines.engine import Engine


@dataclass(frozen=True)
class Query:
    """One decision to be made: the view of the player in `game` who makes it, and the decision's seed."""

    game: Game
    view: View
    seed: int


@dataclass(frozen=True)
class Answer:
    """A decision made. `parsed` is False where the action had to be decoded under constraint, among
    `options`: the answer names no legal action, or was cut before its end."""

    action: Any
    prompt: str = ""
    text: str = ""
    parsed: bool = True
    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    options: Options | None = None


class Policy(Protocol):
    """Anything that can play: a language model, a table, a script."""

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer per query."""


class LanguageModelPolicy:
    """A chat model that plays: renders prompts, samples answers, parses actions.

    `tokenizer` is a transformers tokenizer with a chat template, `engine` samples from the model. An answer
    that does not parse, or is cut before its end token, is kept as it is and the action is drawn from the
    model's own distribution over the legal actions, each scored as a direct answer to the prompt.
    """

    def __init__(self, engine: Engine, tokenizer, temperature: float = 0.8, max_new_tokens: int = 32):
        self.engine, self.tokenizer = engine, tokenizer
        self.temperature, self.max_new_tokens = temperature, max_new_tokens
        self._encoded: dict[tuple[str, str], tuple[str, list[int]]] = {}

    def encode(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[tuple[str, list[int]]]:
        """Each chat's prompt as text and as token ids, up to where the answer begins (kept once made)."""
        keys = [(messages[0]["content"], messages[1]["content"]) for messages in chats]
        new = {
            key: list(messages) for key, messages in zip(keys, chats, strict=True) if key not in self._encoded
        }
        if new:  # at once: a call of the template and of the tokenizer costs as much as a prompt
            texts = models.render(self.tokenizer, list(new.values()), add_generation_prompt=True)
            ids = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._encoded.update(zip(new, zip(texts, ids, strict=True), strict=True))
        return [self._encoded[key] for key in keys]

    @functools.cached_property
    def _end(self) -> int:
        return models.end_of_answer(self.tokenizer)

    def option_logps(self, decisions: Sequence[tuple[Game, View]]) -> list[np.ndarray]:
        """Normalized log-probabilities (nats) of the legal actions at each decision: see `options`."""
        return [np.log(options.probabilities) for options in self.options(decisions)]

    def options(self, decisions: Sequence[tuple[Game, View]]) -> list[Options]:
        """Constrained decode: the model's own distribution over the legal actions at each decision."""
        spelled = [[game.spell(action) for action in view.legal] for game, view in decisions]
        words = list(dict.fromkeys(itertools.chain(*spelled)))
        word_ids = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        answer_of = {word: (*ids, self._end) for word, ids in zip(words, word_ids, strict=True)}
        encoded = self.encode([game.messages(view) for game, view in decisions])
        prompts = [ids for (_, ids), options in zip(encoded, spelled, strict=True) for _ in options]
        answers = [answer_of[word] for options in spelled for word in options]
        logp = self.engine.score(prompts, answers, self.temperature)
        ends = np.cumsum([len(options) for options in spelled])[:-1]
        return [
            Options(view.legal, tuple(answer_of[word] for word in options), softmax(part))
            for (_, view), options, part in zip(decisions, spelled, np.split(logp, ends), strict=True)
        ]

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """See `Policy.answer`."""
        if not queries:
            return []
        prompts = self.encode([query.game.messages(query.view) for query in queries])
        uniforms_BL = seeds.uniforms([query.seed for query in queries], self.max_new_tokens, "tokens")
        samples = self.engine.sample([ids for _, ids in prompts], uniforms_BL, self.temperature)
        written = [tuple(sample.ids) for sample in samples]
        text_of = {ids: self.tokenizer.decode(ids, skip_special_tokens=True) for ids in set(written)}
        texts = [text_of[ids] for ids in written]
        actions = [  # the last word of an answer that was cut may be the beginning of another action
            query.game.parse(text, query.view.legal) if sample.finished else None
            for query, text, sample in zip(queries, texts, samples, strict=True)
        ]
        unparsed = {  # one decision of each prompt
            prompt: (query.game, query.view)
            for query, (prompt, _), action in zip(queries, prompts, actions, strict=True)
            if action is None
        }
        decoded = self.options(list(unparsed.values())) if unparsed else []
        options_of = dict(zip(unparsed, decoded, strict=True))
        answers = []
        for query, (prompt, prompt_ids), sample, text, action in zip(
            queries, prompts, samples, texts, actions, strict=True
        ):
            options = None
            if action is None:
                options = options_of[prompt]
                p = options.probabilities
                action = options.actions[seeds.generator(query.seed, "constrained").choice(len(p), p=p)]
            answers.append(
                Answer(action, prompt, text, options is None, prompt_ids, sample.ids, sample.logps, options)
            )
        return answers


def sampling(settings: Settings) -> dict:
    """What `load_policy` needs to know beside the model."""
    return {
        "dtype": settings.dtype,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
        "engine": settings.engine,
    }


def load_policy(
    model_name: str, dtype: str, temperature: float, max_new_tokens: int, engine: str = "shared_prefix"
):
    """A loaded model as (model, tokenizer, policy that plays it with the engine of that name)."""
    model, tokenizer = models.load(model_name, dtype)
    generator = models.engine_for(model, tokenizer, engine)
    return model, tokenizer, LanguageModelPolicy(generator, tokenizer, temperature, max_new_tokens)


def open_policy(model: str) -> LanguageModelPolicy:
    """The policy of a model to look at: nano, smollm2, a hub id, or a folder such as that of a job.

    It answers as in the job that made it (number format, temperature, longest answer), any other model as
    in the profile paper. Raises ValueError where there is no such model.
    """
    found = Path(models.resolve(profiles.load("paper", model=model).model))
    for folder in (found, found.parent):
        if (folder / "started.json").exists():
            job = json.loads((folder / "started.json").read_text(encoding="utf-8"))
            return load_policy(model, **job["arguments"]["sampling"])[2]
    return load_policy(model, **sampling(profiles.load("paper", model=model)))[2]
