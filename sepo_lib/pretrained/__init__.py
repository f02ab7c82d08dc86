"""What does a pretrained model bring along? Its weights and tokenizer, read whole, and LoRA adapters for it.

`loading` reads a model and refuses one that would play wrongly. `adapters` finds the layers that LoRA adapts,
says what share of the model they are, and merges adapters. `adapter_folder` reads an adapter into its base.
"""
