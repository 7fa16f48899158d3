"""Chains of passes on the architectures that people use, with random weights: what works, what is refused, what fails."""
