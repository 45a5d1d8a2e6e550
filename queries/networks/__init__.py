"""Networks that several encoders, detectors and data tools share: BERT, Cnn14, an audio tower."""
