"""What both directions run on: clock, workers, compiled kernels."""
