"""How do other trainers play these games? One adapter for each framework

`session` holds one episode, which is played decision by decision, and its rewards. It needs no framework.
Every other module is an adapter, and imports the framework that it is named after (docs/environments.md).
"""
