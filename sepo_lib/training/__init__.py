"""How is a policy trained? Demonstrations by scripted strategies, supervised fine-tuning on them, then SEPO.

Read `sepo` first: one step of SEPO plays episodes, computes advantages and updates the model. `sft` and
`demonstrations` make the model that SEPO starts from.
"""
