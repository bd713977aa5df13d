"""Statistical inference over patients, seeds and trainings: estimates, intervals, tests.

Start with `estimate`. The modules are independent of what is measured; scores, quality, sweeps and reader studies use them.
"""
