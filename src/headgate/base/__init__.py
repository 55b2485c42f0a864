"""What every part shares: errors, the clock, the model, the ports. Imports nothing else of Headgate."""
