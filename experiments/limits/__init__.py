"""Two limits in which a VAE is exact: a normalising flow's, and a Gaussian channel's."""
