"""Log-probabilities of many answers: the answers to one prompt are read as a tree, each shared token once.

Prompts with a common beginning share a tree while it is small: their own ends are its first branches.

Two answers to the prompt "p q", x y END and x z END, make this tree:

    node      0  1  2  3    4  5            q -- x -- y -- END
    token     q  x  y  END  z  END                 \\
    parent    0  0  1  2    1  4                    z -- END

A tree is one row of the model's input: the rest of its prompt and then the nodes that have children. A node
attends to the prompt and to the nodes above it, at the position that its token has in the answers.

    cache     [ what all prompts share ]                            (`prefix_cache.read_shared`)
    row       [ padding | rest of the prompt ][ x y z | padding ]   logits from the prompt's last token on
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from sepo_lib.play.engines import padded
from sepo_lib.play.engines.prefix_cache import alike, bare, read_shared

_ROWS = 64  # the largest number of trees in one call of the model
_POSITIONS = 1024  # the largest number of their nodes, padding included
_LOGITS = 2**26  # the largest number of logits
_TOGETHER = 64  # the largest number of nodes in a tree of several prompts: longer rows cost more attention
_SIMILAR = 4  # trees of 1 to 4 nodes are read together, of 5 to 8, and so on: this keeps padding short
_NEXT = -1  # stands for an unknown next token; it is never read


def supports(model: PreTrainedModel) -> bool:
    """Whether the model reads trees: its layers attend to all previous tokens, its attention accepts a mask
    over pairs of tokens (`padded.takes_masks` tries it), and it is on a CPU. For a GPU, `padded` has fewer
    and larger calls."""
    return bare(model).device.type == "cpu" and padded.takes_masks(model)


def logps(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    width: int,
    temperature: float,
    entropy: bool = False,
) -> list[torch.Tensor]:
    """[log-probabilities (nats) of the tokens of each answer after its prompt, shape (B, width)], 0 after the
    end of an answer. With `entropy`, a second tensor of the same shape holds the entropies (nats) of the
    distributions of these tokens; gradients flow through the first one only.

    The model must be one that `supports` accepts.
    """
    most = _most_nodes(model)
    trees, paths = _grow(prompts, answers, most)
    found: list[list[torch.Tensor]] = []
    begin_of: dict[int, int] = {}  # tree -> index of its first node in `found`
    count = 0
    for batch in batches(trees, most):
        found.append(_read(model, [trees[number] for number in batch], temperature, entropy))
        for number in batch:
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


def following(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    temperature: float,
) -> torch.Tensor:
    """Arguments and result as of `scoring.following`. The model must be one that `supports` accepts."""
    most = _most_nodes(model)
    trees, paths = _grow(prompts, [(*prefix, _NEXT) for prefix in prefixes], most)
    rows_of: dict[int, list[int]] = {}
    for row, (number, _) in enumerate(paths):
        rows_of.setdefault(number, []).append(row)
    order, found = [], []
    for batch in batches(trees, most):
        all_logps, places, _ = _distributions(model, [trees[number] for number in batch], temperature)
        begin = 0
        chosen = []
        for number in batch:
            order += rows_of[number]
            chosen += [places[begin + paths[row][1][-1]] for row in rows_of[number]]
            begin += len(trees[number])
        found.append(all_logps.flatten(0, 1)[torch.tensor(chosen, device=all_logps.device)])
    return torch.cat(found)[torch.tensor(order, device=found[0].device).argsort()]


class AnswerTree:
    """The answers to one prompt. Node 0 is the prompt's last token; every other node is an answer token.

    In a tree of several prompts, the prompt is what they share, and an answer begins with what is left.
    """

    def __init__(self, prompt: tuple[int, ...]):
        self.prompt = prompt
        self.tokens, self.parents, self.depths = [prompt[-1]], [0], [0]
        self._child: dict[tuple[int, int], int] = {}

    def add(self, answer: Sequence[int]) -> list[int]:
        """The nodes of the tokens of `answer`; missing nodes are created."""
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
        """The nodes that the model reads, in ascending order: node 0 and every node that has children."""
        return sorted({0, *self.parents})


def batches(trees: Sequence[AnswerTree], most: int) -> Iterator[list[int]]:
    """The numbers of the trees that one call of the model reads: trees of similar size, then similar prompts.

    A batch has at most _ROWS trees and, unless it is a single tree, at most `most` nodes with padding.
    """
    sizes = [len(tree.read()) for tree in trees]
    order = sorted(
        range(len(trees)), key=lambda n: (-(-sizes[n] // _SIMILAR), -len(trees[n].prompt), trees[n].prompt)
    )
    batch: list[int] = []
    for number in order:
        widest = max(sizes[n] for n in (*batch, number))
        if batch and (len(batch) == _ROWS or (len(batch) + 1) * widest > most):
            yield batch
            batch = []
        batch.append(number)
    yield batch


def _most_nodes(model: PreTrainedModel) -> int:
    """The largest number of nodes in one call of the model."""
    return max(1, min(_POSITIONS, _LOGITS // bare(model).config.get_text_config().vocab_size))


def _grow(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], most: int
) -> tuple[list[AnswerTree], list[tuple[int, list[int]]]]:
    """(trees, for each answer the number of its tree and its nodes there).

    A tree has at most `most` nodes, unless it holds one longer answer; a stem may have several trees.
    """
    trees: list[AnswerTree] = []
    newest: dict[tuple[int, ...], int] = {}  # stem -> the tree to which its next answer is added
    paths = []
    pairs = [(tuple(prompt), answer) for prompt, answer in zip(prompts, answers, strict=True)]
    stems = _stems(pairs, min(_TOGETHER, most))
    for prompt, answer in pairs:
        stem = stems[prompt]
        branch = (*prompt[len(stem) :], *answer)
        number = newest.get(stem)
        if number is None or len(trees[number]) + len(branch) > most:
            newest[stem] = number = len(trees)
            trees.append(AnswerTree(stem))
        path = trees[number].add(branch)
        paths.append((number, path[len(branch) - len(answer) :]))
    return trees, paths


def _stems(
    pairs: Sequence[tuple[tuple[int, ...], Sequence[int]]], most: int
) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Prompt -> the beginning that it shares with the others of its tree; `pairs` are (prompt, answer).

    Prompts that follow each other in sorted order share a tree, up to `most` nodes that are read.
    """
    inner: dict[tuple[int, ...], set[tuple[int, ...]]] = {}  # prompt -> the nodes read for its answers
    for prompt, answer in pairs:
        inner.setdefault(prompt, set()).update(tuple(answer[:n]) for n in range(1, len(answer)))
    groups: list[tuple[int, list[tuple[int, ...]]]] = []  # (length of the stem, prompts)
    size = 0  # of the last group: nodes behind its stem
    for prompt in sorted(inner):
        stem, group = groups[-1] if groups else (0, [])
        same = alike(group[-1], prompt) if group else 0
        common = min(stem, same)
        larger = size + (stem - common) + (len(prompt) - same) + len(inner[prompt])
        if common and larger <= most:
            groups[-1], size = (common, [*group, prompt]), larger
        else:
            groups.append((len(prompt), [prompt]))
            size = len(inner[prompt])
    return {prompt: prompt[:stem] for stem, group in groups for prompt in group}


def _read(
    model: PreTrainedModel, trees: Sequence[AnswerTree], temperature: float, entropy: bool
) -> list[torch.Tensor]:
    """[log-probability of every node, one tree after the other], and the entropies if asked for.

    The values at node 0 of a tree are meaningless.
    """
    all_logps, places, tokens = _distributions(model, trees, temperature)
    device = all_logps.device
    place_M = torch.tensor(places, device=device)
    at_M = place_M * all_logps.shape[2] + torch.tensor(tokens, device=device)
    found = [all_logps.flatten().index_select(0, at_M)]
    if entropy:
        detached = all_logps.detach()
        found.append(-detached.exp().mul_(detached).sum(dim=-1).flatten().index_select(0, place_M))
    return found


def _distributions(
    model: PreTrainedModel, trees: Sequence[AnswerTree], temperature: float
) -> tuple[torch.Tensor, list[int], list[int]]:
    """(log-probabilities of the next token after each node that is read, shape (trees, columns, V); places;
    tokens).

    Places and tokens have one entry per node, one tree after the other: the place, row x columns + column, of
    the distribution that the node's token was drawn from, and that token.
    """
    cache, shared = read_shared(model, [tree.prompt for tree in trees])
    inner = [tree.read() for tree in trees]
    rest = max(len(tree.prompt) for tree in trees) - shared
    kept = max(map(len, inner))  # columns of logits: the prompt's last token, and the nodes
    length = rest - 1 + kept
    ids = np.zeros((len(trees), length), dtype=np.int64)
    positions = np.zeros_like(ids)
    sees = np.zeros((len(trees), length, shared + length), dtype=bool)
    sees[:, :, :shared] = True
    sees[:, range(length), range(shared, shared + length)] = True  # itself: padding must see something
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
