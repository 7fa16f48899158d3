"""Servers that several rooms test against: each is started once a session, when the first test asks for it."""

pytest_plugins = ["tests.postgres", "tests.seaweed"]
