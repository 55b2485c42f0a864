"""A Flask JSON route on different servers, with the same worker processes and threads."""
