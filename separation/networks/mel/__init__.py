"""Log-mel spectrograms to latents and back (VAE), and to waveforms (vocoder)."""
