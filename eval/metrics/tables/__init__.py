"""Rows of the table of metrics, a file for each group. None of these files imports torch."""
