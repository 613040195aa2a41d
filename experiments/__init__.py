"""Experiments: each a folder with ``experiment.py`` and ``figures.py``, run by one command line.

``python -m experiments NAME`` — see ``python -m experiments --help``.
"""
