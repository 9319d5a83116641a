"""Solving the equations of a sparse code: structure first, rows afterwards."""
