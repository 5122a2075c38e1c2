"""Named, hashed signal front ends: one operation, one file."""
