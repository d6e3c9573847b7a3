"""Every accuracy and every interval of the project, and their wording.

In: margins, hits and user numbers as arrays. Out: accuracies, bootstrap intervals, calibration,
length bias, paired differences; folds of users.
May import: `scpo.arrays`, `scpo.choices`. Needs neither torch nor Ray.
"""
