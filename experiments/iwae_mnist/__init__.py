"""Importance-weighted autoencoders on binarised digits (Burda et al., 2016)."""
