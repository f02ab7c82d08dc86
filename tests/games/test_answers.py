"""The rule of reading, on generated answers whose meaning is known: no false action, and no form refused.

An answer is put together from parts: thinking, reasons, a wrapping inside a wrapping, an action. The parts
that name no action are written here as a person reads them, without a look at the rule.
"""

import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from sepo_lib.games import GAMES
from sepo_lib.games.base import Game
from sepo_lib.games.deal import legal_demands

COUNT = 20_000  # answers of each game, half of them with an action


class Own(Game):
    """A game with actions that a parser may take for something else."""

    name = "own"

    def spell(self, action):
        return str(action)


OWN = Own()
LEGAL = {
    "ipd": [("COOPERATE", "DEFECT")],
    "auction": [("LOW", "MEDIUM", "HIGH")],
    "split": [tuple(range(1, 10))],
    "deal": [legal_demands((1, 2, 1)), legal_demands((4, 1, 2))],
    "kuhn": [("PASS", "BET"), ("FOLD", "CALL")],
    "own": [
        ("SWERVE", "STRAIGHT"),
        ("YES", "NO"),
        ("GO LEFT", "GO RIGHT", "STAY"),
        (-1, 0, 1, 10),
        ("Été", "Straße", "Strasse"),
        ("MOVE", "ANSWER"),
    ],
}
GAME = {**GAMES, "own": OWN}


def _is_of_the_kit(game):
    """Not so a game of SEPO_GAMES, which has no committed demonstrations (CONTRIBUTING.md)."""
    return type(game).__module__.startswith("sepo_lib.")


WORDS = "they last round share points because trust value high never bet I so but not half one 2 10".split()
NOUNS = ["answer", "action", "choice", "decision", "response", "move", "play", "bid", "demand", "offer"]
LABELS = [
    *(f"{noun}:" for noun in NOUNS),
    *(f"{adjective} {noun}:" for noun in NOUNS for adjective in ("final", "my", "my final", "the best")),
    *(
        "the answer is",
        "my final answer is:",
        "so my choice is",
        "therefore, my action is",
        "my move will be",
    ),
    *(
        "I choose",
        "I will play",
        "I'll go with",
        "so I pick",
        "I select:",
        "therefore, I choose:",
        "I demand",
    ),
    *("I will now choose", "here is my answer:", "thus I take", "I will", "I'll"),
]
PAIRS = ["**", "*", "_", "__", "`", "'", '"', "***", ("“", "”"), ("‘", "’"), ("(", ")"), ("[", "]")]
PAIRS += [("{", "}"), "$", "$$", (r"\(", r"\)"), (r"\boxed{", "}"), (r"\text{", "}"), (r"$\boxed{", "}$")]
PAIRS += [("<answer>", "</answer>"), ("<action>", "</action>"), ('{"action": "', '"}'), ("{'answer': ", "}")]
#: Last lines that a person would not take for the choice of the action §; ¶ is another action.
NO_ACTION = {
    "negation": "not § ¦ never § ¦ do not § ¦ I will not play § ¦ anything but § ¦ don't choose § ¦ "
    "no more § ¦ I refuse § ¦ not my choice: § ¦ neither § ¦ I will never § ¦ my answer is not §",
    "alternatives": "§ or ¶ ¦ §/¶ ¦ § and ¶ ¦ either § or ¶ ¦ § | ¶ ¦ § (¶) ¦ §? ¶ ¦ § vs. ¶ ¦ § > ¶ ¦ "
    "¶ → § ¦ choose § or ¶ ¦ I choose § or ¶ ¦ § rather than ¶",
    "list": "§, ¶ ¦ §, then ¶ ¦ § ¶ ¦ §; ¶ ¦ [§, ¶] ¦ §, § ¦ **§** **¶** ¦ (§) (¶) ¦ §. ¶ ¦ §! ¶! ¦ "
    '"§", "¶" ¦ 1. § 2. ¶ ¦ `§` `¶` ¦ {§} {¶} ¦ $§$, $¶$',
    "behind": "§ because I must ¦ § if they do ¦ § - the best ¦ § (I think) ¦ §, ¦ §: my choice ¦ § is bad ¦ "
    "§ points ¦ § was my last move ¦ § is what they bid ¦ §: ¦ § [1]",
    "unsure": "§? ¦ §... ¦ §… ¦ maybe § ¦ § or so ¦ should I choose § ¦ I would choose § ¦ I might play § ¦ "
    "perhaps I choose § ¦ about § ¦ §?!",
    "others": "their action: § ¦ they played § ¦ opponent: § ¦ history: § ¶ ¦ > § ¦ "
    "your move: § ¦ I chose § ¦ the other's choice is § ¦ last action: § ¦ the bid is § ¦ "
    "the wrong answer: § ¦ you choose § ¦ my last move was §",
    "markup": "~~§~~ ¦ <s>§</s> ¦ [ ] § ¦ <!-- § --> ¦ play(§) ¦ return § ¦ | § | ¦ \\cancel{§} ¦ <think>§ ¦ "
    '! § ¦ !§ ¦ ~§ ¦ (§ ¦ §) ¦ [§ ¦ §] ¦ {"action": "§", "other": "¶"} ¦ {"opponent": "§"} ¦ {"not": "§"}',
    "longer": "§§ ¦ x§ ¦ §ly ¦ §-¶ ¦ §_¶ ¦ non-§ ¦ §\u00e9 ¦ un§ ¦ §= ¦ =§ ¦ §+¶ ¦ -§- ¦ §/ ¦ @§ ¦ 1. § 1",
}
NO_NUMBER = {
    "number": "3§ ¦ §3 ¦ §.5 ¦ 0.§ ¦ -§ ¦ - § ¦ −§ ¦ + § ¦ $§ ¦ §% ¦ §/10 ¦ § - 1 ¦ ±§ ¦ §² ¦ 2^§ ¦ "
    ".§ ¦ 0§ ¦ §,0 ¦ §:¶ ¦ #§ ¦ - **§** ¦ - (§) ¦ – §"
}
FRAMES = [("```", "```"), ("```json", "```"), ("$$", "$$"), (r"\[", r"\]"), ("<answer>", "</answer>")]
TAGS = ["think", "thinking", "reasoning", "THINK"]


class Writer:
    """Writes answers with known meanings from the legal actions of one decision."""

    def __init__(self, game, legal, rng):
        self.game, self.legal, self.rng, self.one_of = game, legal, rng, rng.choice
        self.action, self.other = rng.sample(legal, 2)
        self.word, self.another = game.spell(self.action), game.spell(self.other)

    def maybe(self, chance=0.5):
        return self.rng.random() < chance

    def cased(self, text):
        return self.one_of([text, text, text.lower(), text.upper(), text.capitalize()])

    # Answers that name an action

    def good(self):
        """An answer that names `action`, and the name of its outermost form."""
        form, text = "alone", self.one_of([self.word, self.word.lower(), f" {self.word} ", f"{self.word} "])
        number = self.word[-1].isdigit()
        if number and self.word[0].isdigit() and self.maybe(0.2):
            form, text = "plus", f"+{self.word}"
        elif self.maybe(0.1):  # full-width digits, no-break spaces, characters of no width
            form, text = (
                "unicode",
                self.one_of(["\u200b{}\ufeff", "\u00a0{}", "{}\u3000", "{}\u00ad"]).format(text),
            )
        elif number and self.maybe(0.1):
            form, text = "full width", "".join(chr(ord(c) + 0xFEE0) if "!" < c <= "~" else c for c in text)
        stopped = False
        for _ in range(self.rng.randrange(4)):
            form = self.one_of(["pair", "pair", "label", "stop", "list", "heading", "spaces"])
            if form == "stop" and stopped:
                continue
            stopped |= form == "stop"
            text = self.wrapped(form, text, self.word.lstrip("-")[0].isdigit())
        text = self.framed(text) if self.maybe(0.2) else text
        return form, self.behind_reasons(text)

    def wrapped(self, form, text, number=False):
        if form == "pair":
            pair = self.one_of(PAIRS)
            return f"{pair[0]}{text}{pair[1]}" if isinstance(pair, tuple) else f"{pair}{text}{pair}"
        if form == "label":
            label = self.cased(self.one_of(LABELS))
            if label[-1] == ":" and self.maybe(0.3):
                label = self.one_of([f"**{label}**", f"**{label[:-1]}**:", f"*{label}*", f'"{label[:-1]}":'])
            return f"{label} {text}"
        if form == "list":
            return f"{self.one_of('*•' if number else '-*+•–')} {text}"
        return {
            "stop": text + self.one_of([".", "!", "!!", " .", "。"]),
            "heading": f"{self.one_of(['#', '##', '###'])} {text}",
            "spaces": f"  {text}\t",
        }[form]

    def framed(self, text):
        first, last = self.one_of(FRAMES)
        return f"{first}\n{text}\n{last}"

    def sentence(self):
        words = " ".join(self.rng.choices([*WORDS, self.word, self.another], k=self.rng.randrange(4, 12)))
        end = self.one_of([".", "!", "?", '."', ".**", ".)", "?!", ". ", "…?", "。"])
        return self.one_of(["", "- ", "Reasoning: ", "1. ", "> ", "**"]) + f"Because {words}{end}"

    def behind_reasons(self, text):
        """`text` on the last line, after reasons that are over, with or without thinking before them."""
        lines = [self.sentence() for _ in range(self.rng.randrange(3))]
        if self.maybe(0.2) and "ANSWER" not in self.legal:
            lines += [
                self.one_of(["**Answer**", "## Final answer", "Action:", "My choice is", "**I choose:**"])
            ]
        reply = (
            "".join(line + self.one_of(["\n", "\n\n", "\r\n", "\n---\n", "\n \n"]) for line in lines) + text
        )
        if self.maybe(0.2):
            tag = self.one_of(TAGS)
            before = self.one_of([f"<{tag}>", f"<{tag}>\n{self.another}\n", f"{self.another} or", ""])
            reply = f"{before}</{tag}>{self.one_of(['', chr(10), chr(10) * 2])}{reply}"
        return reply + self.one_of(["", "\n", " \n\n"])

    # Answers that name none

    def bad(self):
        """An answer that names no legal action, and the name of its class."""
        form = self.one_of([*self.lines(), "open", "two", "thinking", "early", "diff", "illegal"])
        word, another, sentence = self.good_line(), self.another, self.sentence()
        if form in (lines := self.lines()):
            text = self.one_of(lines[form])
            for _ in range(self.rng.randrange(3)):
                text = self.wrapped(self.one_of(["pair", "label", "stop", "heading", "spaces"]), text)
            return form, self.behind_reasons(self.framed(text) if self.maybe(0.1) else text)
        if form == "open":
            above = self.one_of(self.open_lines())
            between = self.one_of(
                ["\n", "\n\n", "\n---\n", "\n```\n", "\n**Answer:**\n", "\n\u200b\n", "\u2028"]
            )
            return form, f"{sentence}\n{above}{between}{word}"
        if form == "two":
            above = self.one_of(["{}", "{}.", "- {}", "**{}**", "Answer: {}", "I choose {}.", "* {}!"])
            return form, f"{sentence}\n{above.format(another)}\n{word}"
        if form == "thinking":
            tag = self.one_of(TAGS)
            texts = ["<{0}>\n{1}\n{2}", "{1}\n<{0}>{2}", "<{0}>{1}</{0}>", "<{0}>\n{2}\n</{0}>\n"]
            texts += ["</{0}>{1}\n<{0}>\n{2}", "<{0}>{2}</{0}>\n{1}"]
            return form, self.one_of(texts).format(tag, sentence, word)
        return form, {
            "early": f"{word}\n{sentence}",
            "diff": f"```diff\n- {self.word}\n```",
            "illegal": self.behind_reasons(
                self.wrapped("label", self.one_of(["CHECK", "11", "[9, 9, 9]", "NONE"]))
            ),
        }[form]

    def good_line(self):
        text = self.word
        for _ in range(self.rng.randrange(2)):
            text = self.wrapped(self.one_of(["pair", "label", "stop"]), text)
        return text

    def open_lines(self):
        x, y = self.word, self.another
        return [
            *(
                "I will never play",
                "I won't choose",
                "Under no circumstances",
                "They bid",
                "My value is",
                "Not",
            ),
            *(
                "-",
                "+",
                "=",
                "−",
                "#",
                ".",
                "10.",
                "1)",
                "!",
                "?",
                "---1",
                "not:",
                "Do not choose:",
                "$",
                "~",
            ),
            *("I will never choose,", "I would choose anything but", "Avoid:", "They will answer...", "…"),
            *(
                "The worst choice is",
                "Their last move was",
                "I could play, e.g.",
                "anything, i.e.",
                "him vs.",
            ),
            *(f"either {y} or", f"{x} or", f"{y},", f"not {x} but", f"{x} is not the same as", "```diff"),
            *(
                "The opponent's action:",
                "Their bid is",
                "I refuse to go with",
                "I never said that",
                "non-",
                "un-",
            ),
        ]

    def lines(self):
        """Last lines that name no action, by class."""
        kinds = NO_ACTION
        if isinstance(self.action, int) and self.action > 1:  # -1, 0, 1 and 10 are actions of the own game
            kinds = {**kinds, **NO_NUMBER}
        return {
            kind: [line.replace("§", self.word).replace("¶", self.another) for line in lines.split(" ¦ ")]
            for kind, lines in kinds.items()
        }


def writers(name):
    rng = random.Random(name)
    while True:
        yield Writer(GAME[name], rng.choice(LEGAL[name]), rng)


@pytest.mark.parametrize("name", LEGAL)
def test_no_answer_without_an_action_is_read_as_one_and_no_form_of_an_action_is_refused(name):
    asked, false, refused = Counter(), [], []
    for number, writer in zip(range(COUNT), writers(name), strict=False):
        form, reply = writer.good() if number % 2 else writer.bad()
        meant = writer.action if number % 2 else None
        found = writer.game.parse(reply, writer.legal)
        asked[form] += 1
        if found != meant:
            (refused if found is None else false).append((form, reply, found))
    assert not false, (
        f"{len(false)} false actions, such as {random.Random(0).sample(false, min(9, len(false)))}"
    )
    assert not refused, f"{len(refused)} refused: {random.Random(0).sample(refused, min(9, len(refused)))}"
    assert len(asked) >= 20 and min(asked.values()) >= 20, asked


KUHN, SPLIT = GAME["kuhn"], GAME["split"]
FREE = ("PASS", "BET")


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\nI hold K.\nBET",
        "I will never play\nBET",
        "They said that\n\nBET",
        "PASS.\nBET",
        "Bet?",
        "not BET",
    ],
)
def test_false_actions_are_refused(reply):
    assert KUHN.parse(reply, FREE) is None


@pytest.mark.parametrize(
    "reply",
    [
        *("BET!", "_BET_", "(BET)", "- BET", "**bet**.", "Action: BET", "Final answer: BET", "I choose BET."),
        *('{"action": "BET"}', "I bluff.\n```\nBET\n```", r"\boxed{BET}", r"$\boxed{\text{BET}}$", "“BET.”"),
        *("<think>PASS?</think>BET", "I hold K.\n**Final answer:** BET", "Answer:\n\nBET", "\u00a0BET\u200b"),
        *("I'll go with **BET**.", "<answer>\nBET\n</answer>", "Therefore, I choose:\n\nBET", "ＢＥＴ"),
    ],
)
def test_forms_in_which_models_answer_are_read(reply):
    assert KUHN.parse(reply, FREE) == "BET"


@pytest.mark.parametrize(
    ("reply", "demand"),
    [
        *(("+5", 5), ("５", 5), ("5.", 5), ("* 5", 5), ("$5$", 5), ("So 10.\n5", 5), ("10.\n5", None)),
        *((text, None) for text in ("-\n5", "- 5", "−5", "$5", "5%", "5²", "⑤", "15", "5.5", "5 or 6")),
    ],
)
def test_the_sign_and_the_digits_of_a_number_count(reply, demand):
    assert SPLIT.parse(reply, range(1, 10)) == demand


def test_an_action_that_is_not_legal_here_is_not_read():
    """Also where it is the opponent's, on the line above."""
    assert KUHN.parse("I choose BET.", ("FOLD", "CALL")) is None
    assert KUHN.parse("Bet.\nCALL", ("FOLD", "CALL")) == "CALL"


def test_letters_that_only_look_alike_are_not_equal():
    assert [KUHN.parse(text, FREE) for text in ("paß", "PAſS", "ВЕТ", "ⓑⓔⓣ")] == [None] * 4
    assert [OWN.parse(text, ("Straße", "Strasse")) for text in ("STRASSE", "STRAßE")] == ["Strasse", "Straße"]
    assert OWN.parse("E\u0301TE\u0301", ("Été", "no")) == "Été"  # letters and accents as two characters each
    assert OWN.parse("a", ("A", "a", "b")) is None  # two actions with one text


def test_an_action_is_read_as_its_game_spells_it():
    """Also where the text has the form of a wrapping, of a label or of a negation."""
    odd = ("(A)", "A", "not A", "Action: A", "I choose A.", "- 5", "5", "**", "A or B", "A?")
    assert [OWN.parse(f"So.\n{OWN.spell(action)}", odd) for action in odd] == list(odd)


@pytest.mark.parametrize("name", [name for name, game in GAMES.items() if _is_of_the_kit(game)])
def test_the_answers_of_the_committed_demonstrations_are_read(name):
    legal = {"deal": [legal_demands((4, 4, 4))], "kuhn": [("PASS", "BET", "FOLD", "CALL")]}
    folder = Path(__file__).parents[2] / "data" / "sft"
    answers = pd.read_parquet(folder / f"{name}.parquet", columns=["assistant"])["assistant"].unique()
    for answer in answers:
        found = GAMES[name].parse(answer, legal.get(name, LEGAL.get(name))[0])
        assert found is not None and GAMES[name].spell(found) == answer.splitlines()[-1], answer
