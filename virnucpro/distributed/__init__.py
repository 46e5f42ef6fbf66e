"""The same units on many devices and machines, by Ray. Ray is imported when a cluster is joined, not before."""
