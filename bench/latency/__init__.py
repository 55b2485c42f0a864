"""What a gateway adds to the way of a message, at a steady rate."""
