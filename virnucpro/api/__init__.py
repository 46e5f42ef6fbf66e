"""The functions of the library: sequences in memory or in files to calls, vectors and regions."""
