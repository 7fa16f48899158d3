"""The demo: a real model on real data, made in seconds."""
