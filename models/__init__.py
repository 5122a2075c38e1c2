"""Models of the study: front ends, networks, training and shipped checkpoints."""
