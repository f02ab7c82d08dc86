"""How do chats become tokens?

`templates` renders prompts and finds the end of an answer, for play and for training. `examples` turns the
data of supervised fine-tuning into the tokens that play would see.
"""
