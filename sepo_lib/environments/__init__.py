"""How do other trainers play these games? One adapter for each framework, over one episode that is stepped.

`session` holds the episode and its rewards. It needs no framework. Each other module imports the framework that
it is named after: gymnasium_env, pettingzoo_env, trl_env, verifiers_env, openenv_env (docs/environments.md).
"""
