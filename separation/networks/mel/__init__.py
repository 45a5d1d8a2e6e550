"""FlowSep's way between waveforms and latents: autoencoder, vocoder, and the discriminators that train
them."""
