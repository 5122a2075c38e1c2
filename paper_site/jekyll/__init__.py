"""Existing Jekyll companions, built as they are."""
