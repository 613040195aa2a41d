"""How long a training step takes, against the alternatives."""
