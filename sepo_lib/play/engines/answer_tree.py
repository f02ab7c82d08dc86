"""Log-probabilities of many answers, with nothing read twice: the answers to one prompt are read as a tree.

Answers that begin alike share the nodes of their beginning, as they do where they are sampled (`engine`). A
tree is one row of the model's input: the end of its prompt and then its nodes, each of which attends to the
prompt and to the nodes above it, at the position that it has in its answers. What prompts share is read
before, once (`prefix.read_shared`). An answer's last token is never read: nothing follows it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from sepo_lib.play.engines.prefix import attends_to_everything, bare, read_shared

_ROWS = 64  # trees that go through the model together
_POSITIONS = 1024  # and at most so many of their nodes, padding included
_ALIKE = 4  # trees of 1 to 4 nodes go together, of 5 to 8, and so on: little of them is padding then
_LOGITS = 2**26  # and at most so many logits
_NEXT = -1  # stands for the token that comes next: it is never read


def supports(model: PreTrainedModel) -> bool:
    """Whether answers of the model can be read as trees: all its layers attend to everything before, and its
    attention takes a mask that says for each pair of tokens who sees whom."""
    return attends_to_everything(model) and model.config._attn_implementation == "sdpa"


class _Tree:
    """The answers to one prompt. Node 0 is the prompt's last token; every other is a token of answers."""

    def __init__(self, prompt: tuple[int, ...]):
        self.prompt = prompt
        self.tokens, self.parents, self.depths = [prompt[-1]], [0], [0]
        self._child: dict[tuple[int, int], int] = {}

    def add(self, answer: Sequence[int]) -> list[int]:
        """The nodes of `answer`, those that there were not made."""
        path, node = [], 0
        for token in answer:
            child = self._child.setdefault((node, token), len(self.tokens))
            if child == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(self.depths[node] + 1)
            path.append(node := child)
        return path

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self) -> list[int]:
        """The nodes that something follows, the prompt first."""
        return sorted({0, *self.parents})


def logps(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    width: int,
    temperature: float,
    entropy: bool = False,
) -> list[torch.Tensor]:
    """[log-probabilities (nats) of every token of `answers`, each behind its prompt, shape (B, width)], and
    the entropies (nats) of the distributions that the tokens are from where `entropy` is set; 0 behind the
    end of an answer. Gradients go through the first.

    For models that `supports` names.
    """
    most = _most(model)
    trees, paths = _grow(prompts, answers, most)
    found: list[list[torch.Tensor]] = []
    begin_of: dict[int, int] = {}  # where the nodes of each tree begin in what was found
    count = 0
    for lot in _lots(trees, most):
        found.append(_read(model, [trees[number] for number in lot], temperature, entropy))
        for number in lot:
            begin_of[number] = count
            count += len(trees[number])
    index_BL = np.full((len(paths), width), count)
    for row, (number, path) in enumerate(paths):
        index_BL[row, : len(path)] = np.add(path, begin_of[number])
    index = torch.as_tensor(index_BL, device=found[0][0].device).flatten()
    return [
        torch.cat([*parts, parts[0].new_zeros(1)]).index_select(0, index).view(len(paths), width)
        for parts in zip(*found, strict=True)
    ]


def totals(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    temperature: float,
) -> torch.Tensor:
    """Log-probability (nats) of each whole answer behind its own prompt, shape (B,). Gradients go through it.

    For every model: one that cannot read trees reads a row for each answer.
    """
    if supports(model):
        return logps(model, prompts, answers, max(map(len, answers)), temperature)[0].sum(dim=1)
    pairs, found = list(zip(prompts, answers, strict=True)), []
    for start in range(0, len(pairs), _ROWS):
        few = pairs[start : start + _ROWS]
        lines = [torch.tensor([*prompt, *answer]) for prompt, answer in few]
        mask = [torch.ones_like(line) for line in lines]
        written = [torch.ones(len(answer)) for _, answer in few]
        ids, mask, written = (  # all end together: logits are needed for the longest answer's columns only
            pad_sequence(rows, batch_first=True, padding_side="left").to(model.device)
            for rows in (lines, mask, written)
        )
        kept = written.shape[1]
        logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=kept + 1).logits[:, :-1]
        all_logps = torch.log_softmax(logits.float() / temperature, dim=-1)
        chosen_BL = all_logps.gather(2, ids[:, -kept:, None]).squeeze(2)
        found.append((chosen_BL * written).sum(dim=1))
    return torch.cat(found)


def following(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    temperature: float,
) -> torch.Tensor:
    """Log-probability (nats) of every token as the next one behind each prompt and the beginning of an answer
    to it, shape (B, V); the beginnings may be empty.

    For every model, as `totals`. Callers keep B times V within what the memory holds.
    """
    pairs = list(zip(map(tuple, prompts), map(tuple, prefixes), strict=True))
    if not supports(model):
        found = []
        for start in range(0, len(pairs), _ROWS):
            lines = [torch.tensor([*prompt, *prefix]) for prompt, prefix in pairs[start : start + _ROWS]]
            ids, mask = (
                pad_sequence(rows, batch_first=True, padding_side="left").to(model.device)
                for rows in (lines, [torch.ones_like(line) for line in lines])
            )
            logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits[:, -1]
            found.append(torch.log_softmax(logits.float() / temperature, dim=-1))
        return torch.cat(found)
    most = _most(model)
    trees, paths = _grow(prompts, [(*prefix, _NEXT) for _, prefix in pairs], most)
    rows_of: dict[int, list[int]] = {}
    for row, (number, _) in enumerate(paths):
        rows_of.setdefault(number, []).append(row)
    order, found = [], []
    for lot in _lots(trees, most):
        all_logps, places, _ = _distributions(model, [trees[number] for number in lot], temperature)
        begin = 0
        chosen = []
        for number in lot:
            order += rows_of[number]
            chosen += [places[begin + paths[row][1][-1]] for row in rows_of[number]]
            begin += len(trees[number])
        found.append(all_logps.flatten(0, 1)[torch.tensor(chosen, device=all_logps.device)])
    return torch.cat(found)[torch.tensor(order, device=found[0].device).argsort()]


def _most(model: PreTrainedModel) -> int:
    """How many nodes of trees go through the model together."""
    return max(1, min(_POSITIONS, _LOGITS // bare(model).config.get_text_config().vocab_size))


def _grow(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], most: int
) -> tuple[list[_Tree], list[tuple[int, list[int]]]]:
    """The trees of `answers`, of at most `most` nodes where an answer is shorter than that, and for each
    answer its tree's number and its nodes in it."""
    trees: list[_Tree] = []
    newest: dict[tuple[int, ...], int] = {}  # by prompt, the tree that its next answer is added to
    paths = []
    for prompt, answer in zip(map(tuple, prompts), answers, strict=True):
        number = newest.get(prompt)
        if number is None or len(trees[number]) + len(answer) > most:
            newest[prompt] = number = len(trees)
            trees.append(_Tree(prompt))
        paths.append((number, trees[number].add(answer)))
    return trees, paths


def _lots(trees: Sequence[_Tree], most: int) -> Iterator[list[int]]:
    """The numbers of the trees that are read together: of like size first, of like prompts second."""
    sizes = [len(tree.read()) for tree in trees]
    order = sorted(
        range(len(trees)), key=lambda n: (-(-sizes[n] // _ALIKE), -len(trees[n].prompt), trees[n].prompt)
    )
    lot: list[int] = []
    for number in order:
        widest = max(sizes[n] for n in (*lot, number))
        if lot and (len(lot) == _ROWS or (len(lot) + 1) * widest > most):
            yield lot
            lot = []
        lot.append(number)
    yield lot


def _read(
    model: PreTrainedModel, trees: Sequence[_Tree], temperature: float, entropy: bool
) -> list[torch.Tensor]:
    """[log-probability of every node of the trees, one tree after the other], and the entropies; node 0's
    mean nothing."""
    all_logps, places, tokens = _distributions(model, trees, temperature)
    device = all_logps.device
    place_M = torch.tensor(places, device=device)
    at_M = place_M * all_logps.shape[2] + torch.tensor(tokens, device=device)
    found = [all_logps.flatten().index_select(0, at_M)]
    if entropy:
        given = all_logps.detach()
        found.append(-given.exp().mul_(given).sum(dim=-1).flatten().index_select(0, place_M))
    return found


def _distributions(
    model: PreTrainedModel, trees: Sequence[_Tree], temperature: float
) -> tuple[torch.Tensor, list[int], list[int]]:
    """Log-probabilities of the next token behind the trees' nodes, (trees, nodes, V), and for every node, one
    tree after the other: where the distribution is that it is from (of trees times nodes), and its token."""
    cache, shared = read_shared(model, [tree.prompt for tree in trees])
    inner = [tree.read() for tree in trees]
    rest = max(len(tree.prompt) for tree in trees) - shared
    kept = max(map(len, inner))  # the prompt's last token, and the nodes
    length = rest - 1 + kept
    ids = np.zeros((len(trees), length), dtype=np.int64)
    positions = np.zeros_like(ids)
    sees = np.zeros((len(trees), length, shared + length), dtype=bool)
    sees[:, :, :shared] = True
    sees[:, range(length), range(shared, shared + length)] = True  # itself, and of padding nothing else
    places: list[int] = []
    tokens: list[int] = []
    for row, (tree, nodes) in enumerate(zip(trees, inner, strict=True)):
        size = len(tree.prompt)
        begin, end = rest - (size - shared), rest - 1 + len(nodes)
        ids[row, begin:rest] = tree.prompt[shared:]
        positions[row, begin:rest] = range(shared, size)
        ids[row, rest:end] = [tree.tokens[node] for node in nodes[1:]]
        positions[row, rest:end] = [size - 1 + tree.depths[node] for node in nodes[1:]]
        sees[row, begin:rest, shared + begin : shared + rest] |= np.tri(rest - begin, dtype=bool)
        column_of = {node: rest - 1 + place for place, node in enumerate(nodes)}
        for node in nodes[1:]:  # a parent comes before its children
            sees[row, column_of[node]] |= sees[row, column_of[tree.parents[node]]]
        places += [row * kept + column_of[parent] - (rest - 1) for parent in tree.parents]
        tokens += tree.tokens
    device = bare(model).device
    logits = model(
        input_ids=torch.as_tensor(ids, device=device),
        attention_mask=torch.as_tensor(sees, device=device)[:, None],
        position_ids=torch.as_tensor(positions, device=device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.arange(rest - 1, length, device=device),
    ).logits
    return torch.log_softmax(logits.float() / temperature, dim=-1), places, tokens
