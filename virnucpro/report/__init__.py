"""Reports of finished runs: the page, its figures, plots and Parquet tables."""
