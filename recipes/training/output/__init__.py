"""What a run writes into its folder: log, loss curves, state for resuming, model card."""
