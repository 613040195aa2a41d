"""Two misconceptions about variational autoencoders (Yu, "A Tutorial on VAEs", section 5)."""
