"""What an app worker does: loads the app, runs its handlers on threads, and speaks over the link with gateways."""
