"""stackgan: train, sample and measure stacked text-to-image GANs."""

__version__ = "0.1.0"
