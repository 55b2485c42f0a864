"""Flask-SocketIO and python-socketio in a Headgate process: their server, with the clients in the gateways."""
