"""How does a model play? Loading models, sampling answers, playing episodes in lock-step."""
