"""Evaluation: corpora, metrics, the harness, exports and manifests."""
