"""What the jobs with a language model do. Each `run_*` function is one job; `arguments` lists what it takes.

A job writes its evaluations to its folder as Parquet files. `results` makes the tables of the run of them.
Each kind of job is a module of its own, so that a change in the training of one kind leaves the finished jobs
of the others alone (`sepo_lib.run.code`).
"""
