"""The files of a run: its directory, units, manifest, tables and progress."""
