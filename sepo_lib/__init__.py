"""The SEPO reproducibility kit: Safe Equilibrium Policy Optimization (arXiv 2605.30854), step by step.

Axis legend, used by every name in this package that carries one:

    _E  episodes                 _T  rounds of an episode
    _N  groups of a batch        _G  rollouts of a group
    _D  decisions                _K  opponents of a pool
    _B  rows of a batch          _L  tokens
    _V  vocabulary               _S  training seeds

A digit is an axis of that length: `advantages_B1` has the shape (B, 1).

Terms: a *round* is one repetition of the stage game (a hand in poker). A *decision* is one action of the
policy: the model's answer to one prompt. An *episode* (or rollout) is all rounds against one opponent. A
*group* is the set of rollouts that share a baseline.
"""
