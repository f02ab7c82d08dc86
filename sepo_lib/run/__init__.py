"""What is run, in which order, and what does it leave behind?

Read `recipes` first: it lists the jobs of a run. `jobs` runs them, `steps` says what each job does, `results`
turns finished jobs into tables, and `provenance` records what a run was made with.
"""
