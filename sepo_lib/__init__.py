"""The SEPO reproducibility kit: Safe Equilibrium Policy Optimization (arXiv 2605.30854), step by step.

Axis legend, used by every name in this package that carries one:

    _E  episodes                 _T  rounds of an episode
    _G  rollouts of a group      _B  rows of a batch
    _L  tokens                   _V  vocabulary
    _S  training seeds

Terms: a *round* is one repetition of the stage game (a hand in poker); a *decision* is one action of the
policy, answered by the model to one prompt; an *episode* is all rounds against one opponent; a *group* is
the set of rollouts that share a baseline.
"""
