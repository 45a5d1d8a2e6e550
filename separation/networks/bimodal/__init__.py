"""Networks of the bimodal separator: a U-Net conditioned by attention."""
