"""Networks that tell real signals from generated ones, for adversarial training."""
