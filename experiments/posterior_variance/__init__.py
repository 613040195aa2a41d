"""Learned against constant posterior variance (seed 003, section 7.1)."""
