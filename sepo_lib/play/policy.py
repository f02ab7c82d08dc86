"""A language model that plays: it renders prompts, samples answers and parses the actions in them."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy.special import logsumexp, softmax

from sepo_lib.chat import templates
from sepo_lib.games.base import Game, View
from sepo_lib.method import seeds
from sepo_lib.method.records import Options
from sepo_lib.play import engines, models


@dataclass(frozen=True)
class Query:
    """One decision to make: what the player in `game` sees, and the seed of the decision."""

    game: Game
    view: View
    seed: int


@dataclass(frozen=True)
class Answer:
    """The decision made. The fields of the same names in `Decision` hold these values.

    `parsed` is False if the answer names no legal action or was cut before its end token. The action was then
    drawn from `options`. Only a language model fills in the prompt, the tokens and their log-probabilities.
    """

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
        """One answer for each query, in the same order."""


class LanguageModelPolicy:
    """A chat model as a policy.

    `engine` samples from the model; `tokenizer` is its transformers tokenizer, with a chat template. At most
    `max_new_tokens` tokens are sampled for an answer.
    """

    def __init__(self, engine: engines.Engine, tokenizer, temperature: float = 0.8, max_new_tokens: int = 32):
        self.engine, self.tokenizer = engine, tokenizer
        self.temperature, self.max_new_tokens = temperature, max_new_tokens
        self._encoded: dict[tuple[str, str], tuple[str, list[int]]] = {}

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer for each query, in the same order. It depends on its own query only, not on the others.

        The constrained decode (stage 4) changes the action of an answer only; its text and tokens stay.
        """
        if not queries:
            return []
        # 1. Render the prompts.
        prompts = self.encode([query.game.messages(query.view) for query in queries])
        # 2. Sample one answer to each prompt, from random numbers that the seed of the decision fixes.
        uniforms_BL = engines.uniforms([query.seed for query in queries], self.max_new_tokens, "tokens")
        samples = self.engine.sample([ids for _, ids in prompts], uniforms_BL, self.temperature)
        # 3. Parse the actions. An answer that was cut has none: its last word may begin a longer action.
        decode = functools.cache(functools.partial(self.tokenizer.decode, skip_special_tokens=True))
        parse = functools.cache(lambda game, text, legal: game.parse(text, legal))  # many texts are equal
        texts = [decode(tuple(sample.ids)) for sample in samples]
        actions = [
            parse(query.game, text, query.view.legal) if sample.finished else None
            for query, text, sample in zip(queries, texts, samples, strict=True)
        ]
        # 4. Decode the others under constraint, once for each distinct prompt.
        unparsed = {
            prompt: (query.game, query.view)
            for query, (prompt, _), action in zip(queries, prompts, actions, strict=True)
            if action is None
        }
        decoded = self.options(list(unparsed.values())) if unparsed else []
        options_of = dict(zip(unparsed, decoded, strict=True))
        # 5. Put the answers together.
        answers = []
        rows = zip(queries, prompts, samples, texts, actions, strict=True)
        for query, (prompt, prompt_ids), sample, text, action in rows:
            options = options_of[prompt] if action is None else None
            if options:
                p = options.probabilities
                action = options.actions[seeds.generator(query.seed, "constrained").choice(len(p), p=p)]
            tokens = prompt_ids, sample.ids, sample.logps
            answers.append(Answer(action, prompt, text, options is None, *tokens, options))
        return answers

    def encode(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[tuple[str, list[int]]]:
        """The prompt of each chat (system and user message), as text and as token ids; prompts are cached."""
        keys = [(chat[0]["content"], chat[1]["content"]) for chat in chats]
        new = {key: list(chat) for key, chat in zip(keys, chats, strict=True) if key not in self._encoded}
        if new:  # all in one call: each call of the template and of the tokenizer costs as much as a prompt
            texts = templates.render(self.tokenizer, list(new.values()), add_generation_prompt=True)
            ids = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._encoded.update(zip(new, zip(texts, ids, strict=True), strict=True))
        return [self._encoded[key] for key in keys]

    def options(self, decisions: Sequence[tuple[Game, View]]) -> list[Options]:
        """The constrained decode: the model's distribution over the legal actions at each decision.

        Each action is scored as a whole answer that consists of the action and the end token; the
        probabilities are normalized over the legal actions.
        """
        spelled = [[game.spell(action) for action in view.legal] for game, view in decisions]
        words = list(dict.fromkeys(itertools.chain(*spelled)))
        word_ids = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        answer_of = {word: (*ids, self._end) for word, ids in zip(words, word_ids, strict=True)}
        encoded = self.encode([game.messages(view) for game, view in decisions])
        prompts = [ids for (_, ids), options in zip(encoded, spelled, strict=True) for _ in options]
        answers = [answer_of[word] for options in spelled for word in options]
        logps = self.engine.score(prompts, answers, self.temperature)
        ends = np.cumsum([len(options) for options in spelled])[:-1]
        return [
            Options(view.legal, tuple(answer_of[word] for word in options), softmax(part), _log10_sum(part))
            for (_, view), options, part in zip(decisions, spelled, np.split(logps, ends), strict=True)
        ]

    def option_logps(self, decisions: Sequence[tuple[Game, View]]) -> list[np.ndarray]:
        """Log-probabilities (nats) of the legal actions at each decision, shape (actions,): see `options`."""
        return [np.log(options.probabilities) for options in self.options(decisions)]

    @functools.cached_property
    def _end(self) -> int:
        return templates.end_of_answer(self.tokenizer)


def load_policy(
    model_name: str, dtype: str, temperature: float, max_new_tokens: int, engine="auto", **options
):
    """(model, tokenizer, policy) of the model `model_name`; `engine` and `options` as in `engines.make`."""
    model, tokenizer = models.load(model_name, dtype)
    generator = engines.make(model, tokenizer, engine, **options)
    return model, tokenizer, LanguageModelPolicy(generator, tokenizer, temperature, max_new_tokens)


def _log10_sum(logps: np.ndarray) -> float:
    """log10 of the sum of probabilities, to three decimals: batches differ in the last digits only."""
    return round(float(logsumexp(logps) / np.log(10)), 3)
