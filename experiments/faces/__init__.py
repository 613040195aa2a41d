"""Convolutional VAEs of faces, with learned and with constant variances (Fyffe, section 7.1)."""
