# Cells for a notebook: Jupyter (with jupytext), VS Code and Spyder show each part after `# %%` as one.

# %% Strings in, DataFrame out
import virnucpro

sequences = {"repeat": "ATGGCTAAAGGTCTGCGTGAA" * 12, "short": "ACGT"}
frame = virnucpro.predict(sequences).to_pandas()  # pip install 'virnucpro[pandas]'

# %% The same with polars
frame = virnucpro.predict(sequences).to_polars()  # pip install 'virnucpro[polars]'

# %% The same with pyarrow
table = virnucpro.predict(sequences).to_arrow()  # pip install 'virnucpro[parquet]'

# %% Without any of them
rows = [(call.id, call.prediction, call.virus_score, call.status) for call in virnucpro.predict(sequences)]

# %% A file, its share of virus, and the files of the command
calls = virnucpro.predict("examples/reads.fastq.gz")
prevalence = calls.composition.prevalence
calls.write("notebook-run", overwrite=True)

# %% Vectors of proteins
vectors = virnucpro.embed({"p": "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "q": "MAHHHHHHVGTGSNDDDDKSPD"})
