"""Scores: calibration by length, the decision of a run, the composition of a sample. No torch here."""
