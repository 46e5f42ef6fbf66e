"""Run the units of a task on many devices and machines with Ray, which is imported only to join a cluster."""
