"""What an idle WebSocket costs, and what one send to it costs."""
