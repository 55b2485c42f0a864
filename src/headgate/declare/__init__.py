"""All that user code touches: the Flask extension, jobs, sockets, publish."""
