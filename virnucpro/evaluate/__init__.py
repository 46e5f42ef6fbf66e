"""Evaluation of calls: labelled genomes, truth tables, tables of other tools, metrics."""
