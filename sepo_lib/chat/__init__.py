"""How do chats become tokens? The chat template is applied in one way, for play and for training.

`templates` renders prompts and finds the token that ends an answer. `examples` turns the data of supervised
fine-tuning into the tokens that play would see, and `chat_files` reads these data from files of others.
"""
