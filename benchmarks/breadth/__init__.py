"""Chains of passes on the architectures that people use: what works, what is refused and what fails."""
