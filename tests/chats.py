"""Small chats for the tests of chat templates and of supervised fine-tuning."""

from datasets import Dataset


def chat(answer="Why.\nLOW", rules="Rules.", state="State."):
    texts = {"system": rules, "user": state, "assistant": answer}
    return [{"role": role, "content": text} for role, text in texts.items()]


def pairs(chats):
    return Dataset.from_list([{"prompt": one[:-1], "completion": one[-1:]} for one in chats])


GOOD = chat()
