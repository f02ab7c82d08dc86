r"""Which action does an answer name? One rule of reading for all games.

The last line must be exactly one action, alone or in WRAPPINGS. The line above must be the end of a sentence
or a label, because the action may complete an open sentence ("I will never play") or an open number ("-").
docs/method.md, "How an answer is read", lists what is read, what is refused, and why.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import TypeVar

Action = TypeVar("Action")

_NOUN = "(?:answer|action|choice|decision|response|move|play|bid|demand|offer)"
_OWN = "(?:my |the (?!move|play|bid|demand|offer))?"  # "the bid" may be that of the other player
_SO = "(?:(?:so|thus|hence|therefore|finally)(?:,|,? ))?"
_NAMED = rf"{_SO}(?:here(?:'s| is) )?{_OWN}(?:(?:final|best|chosen) )?{_NOUN}"
_VERB = "(?:choose|select|pick|play|bid|demand|take|go with)"
_I = rf"{_SO}i(?:(?: will|'ll)?(?: now| therefore| thus)? {_VERB}| will|'ll)"
_IS = rf"(?:{_NAMED}(?: is| will be)|{_I})"
_LABEL = rf"(?:(?:{_NAMED}|{_IS})[*_`\"']* ?:|{_IS}(?=[ *_`\"']|$))"

#: What may surround an action, by name: a pattern of the whole line whose group is what is inside. A line has
#: lower case and single spaces when it is compared. Wrappings may be nested.
WRAPPINGS = {
    "label": rf"{_LABEL} ?(.+)",  # Action: X; my final answer is X; I choose X; the inside of {"action": X}
    "sign": r"[-+–—−] (.+)",  # a list marker; not before a number, where it may be a sign
    "heading": r"#+ (.+)",
    "plus": r"\+(\d.*)",  # +5
    "stop": r"(.*[^.!?…])(?:\.|!+)",  # one full stop, or exclamation marks
    "brackets": r"\((.+)\)",
    "square brackets": r"\[(.+)\]",
    "braces": r"\{(.+)\}",
    "formula": r"\$(.+)\$",
    "LaTeX": r"\\\((.+)\\\)",
    "LaTeX box": r"\\(?:boxed|text|textbf|mathbf|mathrm|texttt)\{(.+)\}",
    "tag": rf"<{_NOUN}>(.+)</{_NOUN}>",
}
#: Emphasis, code and quotes: any number of these characters may surround an action.
MARKS = " *_`\"'•"

_WRAPPED = re.compile("|".join(WRAPPINGS.values()))
_SIGN = [*WRAPPINGS].index("sign") + 1  # the number of its group
_LABEL_LINE = re.compile(rf"[# *_`\"']*(?:{_LABEL}|{_NAMED})[ :*_`\"']*")
# Lines that are skipped: blank ones, rules, and the ends of a block of code, a formula or a tag.
_SKIPPED = re.compile(
    rf"\s*(?:|[-=*_]{{3,}}|```(?:json|text|markdown)?|\$\$|\\[\[\]]|</?{_NOUN}>)\s*", re.IGNORECASE
)
_THINKING = re.compile(
    r".*[<\[](/?)(?:think|thinking|thought|reasoning|analysis|scratchpad)[>\]]", re.IGNORECASE | re.DOTALL
)
# The end of a sentence, but no ellipsis and no abbreviation that goes on.
_END = re.compile(
    r"[.!?](?<!\.\.)(?<!…\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)[\s*_`\"')\]}]*$", re.IGNORECASE
)
_INNER_SPACE = re.compile(r"(?<=[\[(,]) | (?=[\]),])")
# Full-width characters and curly quotes become ASCII; characters without a width are dropped.
_ASCII = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | str.maketrans("。‘’“”„«»", '.\'\'"""""')
_ASCII |= dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))


def read(answer: str, actions: Mapping[str, Action]) -> Action | None:
    """The action that `answer` names, or None. The keys of `actions` are the actions' `folded` texts.

    What follows a closed block of thinking counts. An answer that ends inside such a block names no action.
    """
    if thinking := _THINKING.match(answer):  # up to the last tag, which opens a block or closes it
        answer = answer[thinking.end() :] if thinking[1] else ""
    above = [line for line in _ascii(answer).splitlines() if not _SKIPPED.fullmatch(line)]
    action = _unwrapped(above.pop(), actions) if above else None
    while action is not None and above:
        if (other := _unwrapped(above[-1], actions)) not in (None, action):
            return None  # two actions, one below the other
        if other is None and _LABEL_LINE.fullmatch(folded(above[-1])):
            above.pop()
        else:
            return action if _ends_sentence(above[-1]) else None
    return action


def folded(text: str) -> str:
    """`text` in lower case, with single spaces, and with none inside brackets and around commas."""
    return _INNER_SPACE.sub("", " ".join(_ascii(text).split())).lower()


def _ascii(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_ASCII))


def _ends_sentence(line: str) -> bool:
    return any(map(str.isalpha, line)) and bool(_END.search(line))


def _unwrapped(line: str, actions: Mapping[str, Action]) -> Action | None:
    """The action that is left when the wrappings of `line` are taken off one after the other, or None."""
    text, signed = folded(line), False
    while text not in actions:
        inner = text.strip(MARKS)
        if inner == text:
            if not (found := _WRAPPED.fullmatch(text)):
                return None
            inner, signed = found[found.lastindex], signed or found.lastindex == _SIGN
        text = inner
    return None if signed and text[:1].isdigit() else actions[text]
