"""What people look at: plots. Nothing here computes a figure."""
