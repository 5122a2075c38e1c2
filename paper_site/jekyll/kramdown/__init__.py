"""Markdown by the rules of kramdown with its GFM parser."""
