"""What models cost: operations, seconds, memory."""
