"""How good calls are: labelled genomes, truth, tables of other tools, figures of merit."""
