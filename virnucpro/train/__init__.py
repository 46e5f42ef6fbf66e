"""Making models: labelled genomes, batches of windows, fitting, evaluation."""
