"""U-Nets over spectrograms and latents, and the head of the flow U-Net."""
