"""The SEPO reproducibility kit: Safe Equilibrium Policy Optimization (arXiv 2605.30854), step by step.

Start with `games`, then read `method`, `play` (without `play/engines`) and `training`: they hold the whole
method. A package imports only from those above it in this list (docs/architecture.md draws it with the
top package first):

    thirdparty   Players of the Axelrod library
    answers      Which action does an answer name?
    games        What is played?
    config       Which hyperparameters does a run use, and where are its files?
    method       What is SEPO?
    environments How do other trainers play these games?
    chat         How do chats become tokens?
    pretrained   What does a pretrained model bring along?
    play         How does a model play?
    measure      What did a policy learn?
    training     How is a policy trained?
    studies      Why does the method work, or fail?
    figures      How are results drawn?
    run          What is run, in which order, and what does it leave behind?
    bench        How fast is the kit?
    report       Which claims hold?

The suffix of an array's name gives its axes, one capital letter for each axis. `own_NGT` has the axes groups,
rollouts and rounds. A digit is an axis of that length: `advantages_B1` has the shape (B, 1).

    _E  episodes                    _B  rows of a batch: decisions, examples or prompts
    _T  rounds of an episode        _L  tokens
    _D  decisions                   _V  the vocabulary
    _N  groups of a batch           _S  training seeds
    _G  rollouts of a group         _K  opponents of a pool, for example exploiters
    _I  information sets            _P  parameters of a tabular policy, flattened
    _A  actions                     _R  rows of a matrix, or resamples of a bootstrap
    _H  histories in Kuhn poker     _C  cards in Kuhn poker

A module with other axes, or with another meaning of a letter, lists them in its own docstring.

Terms: a *round* is one repetition of the stage game (a hand in poker). A *decision* is one action of the
policy; a language model answers one prompt for it. An *episode* (or rollout) is all rounds against one
opponent. A *group* is the set of rollouts that share a baseline. docs/glossary.md has the other terms.
"""
