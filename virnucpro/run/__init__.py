"""A run and its files: main loop, tasks, directory, units, manifest, tables and progress."""
