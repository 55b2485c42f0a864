"""Socket.IO events in an app worker, run through the app's own server, whose clients the gateways hold."""
