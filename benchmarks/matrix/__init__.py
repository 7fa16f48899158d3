"""Every technique on every kind of model: works or refused with its reason, quality, size, speed."""
