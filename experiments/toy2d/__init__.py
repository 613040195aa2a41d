"""Variational autoencoders of densities on the plane (Yu, "A Tutorial on VAEs", section 6)."""
