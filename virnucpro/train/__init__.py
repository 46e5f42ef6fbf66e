"""Training: mixtures of labelled genomes, batches of windows, fitting, calibration."""
