"""What can be said of a number that comes from patients, seeds and trainings: estimates, intervals, tests.

`estimate` is the way in. No module here knows what is measured; scores, quality, sweeps and reader studies use it.
"""
