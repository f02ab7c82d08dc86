"""Which claims hold? Verdicts, the generated parts of the documents, and the HTML page of a run.

Read `claims` first: each claim is decided by one rule from the tables of a run. The other modules write the
verdicts and results into README, docs and `report.html`.
"""
