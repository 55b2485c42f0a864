"""What one gateway process keeps for each of very many idle sockets."""
