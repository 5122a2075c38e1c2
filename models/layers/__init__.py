"""Blocks used by more than one network."""
