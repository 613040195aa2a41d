"""Learned against constant posterior variance (Fyffe, section 7.1)."""
