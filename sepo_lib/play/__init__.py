"""How does a model play? It loads models, samples answers and plays episodes in lock-step."""
