"""Model directories: what they say, where they lie, how they are downloaded, imported, checked and loaded."""
